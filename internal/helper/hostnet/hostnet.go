// Package hostnet gives VMs taps on a bridge, behind rules of the kernel's: the verbs of networks that only root can do.
//
// They are the whole of what a caller can ask of it: Attach, PinAddresses, Open, Detach, Recycle, Prepare, Sweep, List and Denials; and for
// the names of VMs ListenNames, TellResolved and LookNames. Attach takes a VM's id, its slot and what it may reach, never a
// name. Every name on the host is worked out of the installation's id, the VM's id and its slot, so nothing needs to be
// remembered: after a crash, what is there is found by its name. What bears another installation's id, or none, is never
// touched.
//
// A VM reaches nothing of the host but what its redirects lead to: a process of the owner's, without privileges, that
// answers its questions for names and has it reach what the owner opened.
//
// There are, for an installation that has any VM attached: a bridge with the gateway's address, and two nftables tables,
// one for frames and one for packets. For each VM: a tap, which is a port of the bridge and isolated from the others, its
// neighbour entry, and its chains, elements of sets and names of groups in the tables. A VM's rules are there before its
// tap is up, and its tap is down before they go; they change in one transaction, which the kernel takes whole or not.
//
// What the kernel takes long for is kept out of the way of Attach and Detach. It waits for all its processors before it
// frees a device or a rule: some 15 ms. So Detach leaves the tap, down and renamed, to Recycle, which removes it, and which
// nothing waits for; a VM that gets the slot before that, gets another tap. Attach changes nothing that is there for other
// VMs, and takes a tap that Prepare has made, if there is one: what the host's own programs do to new devices is done then.
// Taps that no VM has are down, and no rules let anything through them. With the last VM they go, before Detach returns.
//
// A VM whose VMM is run in a jail has one end of a wire in the tap's place, under its name: see FreeEnd.
package hostnet

import (
	"context"
	"net"
	"net/netip"

	"banger/internal/helper/resolved"
	"banger/internal/model"
)

// Options are what a Host needs.
type Options struct {
	Instance model.InstanceID
	UID      int // of whom the taps are, and whose processes on this host may reach the VMs
	Resolved resolved.Options
}

// Host is this host's kernel, as one installation may use it. It keeps nothing; but the changes of an installation must
// all be made through one of them, which makes one at a time.
type Host struct {
	o    Options
	busy chan struct{} // held while something is changed
}

// New returns a Host. It touches nothing.
func New(o Options) *Host { return &Host{o: o, busy: make(chan struct{}, 1)} }

// Rules are what a VM's port is, and what the VM may send. Only answers reach it from elsewhere, and what comes from those of its groups.
type Rules struct {
	Policy model.Policy // of its domains, it allows what PinAddresses says that they stand for
	// Redirects are those of the gateway's ports that lead the VM to a process of the owner's, which listens there.
	Redirects []model.Redirect
	// Wire has the port be one end of a wire, whose other end the VM's jail takes (see FreeEnd), instead of a tap.
	Wire bool
}

// Port is what stands for a VM on this host. Each part may be missing, after a crash.
type Port struct {
	ID      model.VMID       // "" when nothing tells
	Slot    int              // 0 when nothing tells
	Tap     string           // the device: a tap, or one end of a wire
	Ruled   bool             // there are rules
	MAC     net.HardwareAddr // of the guest's interface
	Address netip.Addr       // of the guest
	Gateway netip.Addr
	MTU     int
}

// Found is all that there is of an installation.
type Found struct {
	Ports  []Port
	Bridge string // its name, "" for none
	// Gateway is the bridge's address; the zero Addr as long as it has none.
	Gateway netip.Addr
	Tables  []string // "bridge NAME" and "ip NAME"
	Spare   []string // taps that are ready for the next VMs
	Left    []string // taps that were taken from their VMs
}

// checkInstance is for what is of no VM.
func (h *Host) checkInstance() error {
	if !h.o.Instance.Valid() {
		return model.Errorf(model.ErrInvalid, "cannot name the devices of installation %q", h.o.Instance)
	}
	return nil
}

func (h *Host) check(id model.VMID) error {
	if !h.o.Instance.Valid() || !id.Valid() {
		return model.Errorf(model.ErrInvalid, "cannot name the devices of installation %q and VM %q", h.o.Instance, id)
	}
	return nil
}

// lock waits for whatever else is changed.
func (h *Host) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Host) unlock() { <-h.busy }
