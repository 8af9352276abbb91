// Package network is the contract between the VM service and whatever carries a VM's packets.
//
// The VM service asks Carries when a VM is made, and Set before each start of it, again for a live change of its policy or
// its ports, and again for every living VM after a restart of the daemon; Up once the VMM runs; Clear when it no longer
// does. All are idempotent: Set twice is one link, whose connections go on, Clear of nothing succeeds. A driver writes no
// state of its own beside what the host holds: addresses, MAC and device names are functions of the installation and the
// VM's slot, so that Sweep recognizes what bears our mark and has no VM.
//
// Errors carry a kind of package model: ErrUnsupported when the host cannot do it, ErrInvalid for a bad Spec, ErrExists
// for a port of the host that something else has, ErrDenied for one that this user may not have.
package network

import (
	"context"
	"net"
	"net/netip"
	"os"

	"banger/internal/model"
)

// Driver is one way to give VMs a network. ctx bounds the call, never the link's life.
type Driver interface {
	Name() string
	// Carries says whether a VM that is made so may be given this driver.
	Carries(w Wants) bool
	// Links are the kinds of link that the driver makes, the best first.
	Links() []LinkKind
	// Set makes the VM's link as s describes it, or changes a live one to that; a failed change leaves all as it was, never
	// a weaker policy.
	Set(ctx context.Context, id model.VMID, s Spec) (Link, error)
	// Up is called once the VMM p runs, and again after a restart of the daemon, and may connect to it; most drivers need
	// nothing.
	Up(ctx context.Context, id model.VMID, p model.Process) error
	// Clear removes the link. hint is what was known of it and may be empty or stale.
	Clear(ctx context.Context, id model.VMID, hint model.NetHandles) error
	// Sweep removes every link of this installation whose VM is not in keep.
	Sweep(ctx context.Context, keep map[model.VMID]bool) error
}

// Wants are what decides whether a driver will do for a VM.
type Wants struct {
	Policy    string // as model.ParsePolicy reads it
	Ports     bool   // some are published on the host
	HostPorts bool   // some of the host's loopback are reachable from the guest
}

// Spec is what a VM's network should be.
type Spec struct {
	Slot   int
	Kind   LinkKind // one of the driver's, which the VM's VMM takes
	Name   string   // the VM's, by which others of its group know it
	Policy string   // as model.ParsePolicy reads it
	Dir    string   // the VM's directory, for sockets
	// Ports are published on the host. One for any free port of the host keeps the one that it has.
	Ports     []model.PortForward
	HostPorts []uint16 // of the host's loopback, reachable from the guest
}

// Explainer is the optional power to tell what a policy does.
type Explainer interface {
	// Denied lists what was refused lately, newest first.
	Denied(ctx context.Context, id model.VMID) ([]model.Denial, error)
	// Check asks the VM's policy about one destination, host:port.
	Check(ctx context.Context, id model.VMID, destination string, udp bool) (model.Verdict, error)
}

// Opener is the optional power to open a VM's tap, which drivers have that make links of kind LinkOpenTap. It is called
// between Set and the start of the VMM, which inherits what is returned; the caller closes it.
type Opener interface {
	Open(ctx context.Context, id model.VMID) (*os.File, error)
}

// Needer is the optional power to say why the driver cannot be used on this host, with what would help; "" when it can.
type Needer interface {
	Problem() string
}

// Namer is the optional power of a driver whose VMs this host's programs reach without a port being published, and know by
// a name.
type Namer interface {
	// HostName is that name now; "" where none resolves.
	HostName(id model.VMID) string
}

// LinkKind is how a VMM attaches to a link.
type LinkKind int

// The link kinds.
const (
	LinkNone    LinkKind = iota // no network device at all
	LinkSocket                  // a Unix stream socket of length-prefixed frames, on which the VMM listens
	LinkTap                     // a tap device of the host, which the VMM opens by its name
	LinkOpenTap                 // a tap device of the host, which the VMM is given open: see Opener
	LinkOwnTap                  // a tap that the VMM makes, in a user and network namespace of its own
	LinkJailTap                 // a tap that the VMM's jail makes, in a network namespace of the VMM's own
	LinkWire                    // one end of a wire (veth) of the host; the other end a jail takes in, with a tap of its own making
)

// Link is what the VMM attaches and what the guest is told of it.
type Link struct {
	Kind    LinkKind
	Socket  string           // LinkSocket: the path to listen on
	Tap     string           // of the kinds with a device of the host: that
	MAC     net.HardwareAddr // of the guest's interface
	MTU     int
	Address netip.Prefix // of the guest
	Gateway netip.Addr
	DNS     []netip.Addr
	Search  []string            // domains that short names are tried in
	Ports   []model.PortForward // those of the Spec, in its order, with the host's ports that were taken
	Handles model.NetHandles
}
