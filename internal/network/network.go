// Package network is the contract between the VM service and whatever carries a VM's packets.
//
// The VM service calls Set before each start of a VM, and again for a live change of policy; Up once the VMM runs; Clear
// when it no longer does. All are idempotent: Set twice is one link, Clear of nothing succeeds. A driver writes no state
// of its own beside what the host holds: addresses, MAC and device names are functions of the installation and the VM's
// slot, so that Sweep recognizes what bears our mark and has no VM.
//
// Errors carry a kind of package model: ErrUnsupported when the host cannot do it, ErrInvalid for a bad Spec.
package network

import (
	"context"
	"net"
	"net/netip"

	"banger/internal/model"
)

// Driver is one way to give VMs a network. ctx bounds the call, never the link's life.
type Driver interface {
	Name() string
	// Set makes the VM's link as s describes it, or changes a live one to that; a failed change leaves the old policy,
	// never a weaker one.
	Set(ctx context.Context, id model.VMID, s Spec) (Link, error)
	// Up is called once the VMM p runs and may connect to it; most drivers need nothing.
	Up(ctx context.Context, id model.VMID, p model.Process) error
	// Clear removes the link. hint is what was known of it and may be empty or stale.
	Clear(ctx context.Context, id model.VMID, hint model.NetHandles) error
	// Sweep removes every link of this installation whose VM is not in keep.
	Sweep(ctx context.Context, keep map[model.VMID]bool) error
}

// Spec is what a VM's network should be.
type Spec struct {
	Slot   int
	Policy string // "none" for now
	Dir    string // the VM's directory, for sockets
}

// LinkKind is how a VMM attaches to a link.
type LinkKind int

// The link kinds.
const (
	LinkNone   LinkKind = iota // no network device at all
	LinkSocket                 // a Unix stream socket of length-prefixed frames, on which the VMM listens
	LinkTap                    // a tap device
)

// Link is what the VMM attaches and what the guest is told of it.
type Link struct {
	Kind    LinkKind
	Socket  string           // LinkSocket: the path to listen on
	Tap     string           // LinkTap: the device
	MAC     net.HardwareAddr // of the guest's interface
	MTU     int
	Address netip.Prefix // of the guest
	Gateway netip.Addr
	DNS     []netip.Addr
	Handles model.NetHandles
}
