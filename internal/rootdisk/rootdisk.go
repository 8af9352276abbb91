// Package rootdisk is the contract between the VM service and whatever makes a writable root disk over a shared,
// read-only image.
//
// The service asks each driver's Features when a VM is made, and gives it the first one that works here and whose drives
// its VMM takes. The VM keeps that driver for its life.
//
// It calls Create once per VM, Activate before each start, Deactivate after each end and Remove at the end.
// Create and Activate are idempotent: after a crash, a stop or a reboot of the host they are simply called again.
// Deactivate and Remove of nothing succeed; both run every step, treat "already gone" as done and join the errors. A
// driver keeps no state of its own: what it made is found again by the VM's id and the installation's mark.
//
// No driver ever runs a program on the host that parses what a guest wrote.
//
// Errors carry a kind of package model: ErrNoSpace on a full disk, ErrCorrupt for a base that is not what its digest
// says, ErrUnsupported when the host cannot do it.
package rootdisk

import (
	"context"

	"banger/internal/model"
)

// Driver is one way to make root disks. ctx bounds the call, never the disk's life.
type Driver interface {
	Name() string
	// Features tells what the driver needs and whether it can run on this host. It is asked often, also beside the other
	// calls, and does not fail: what cannot run is told by Features.Problem. Disks that are there can be removed all the same.
	Features(ctx context.Context) Features
	// Create makes the VM's own, empty layer over base. Nothing is left behind when it fails.
	Create(ctx context.Context, id model.VMID, base Base) error
	// Activate makes the disk's devices ready for a VMM.
	Activate(ctx context.Context, id model.VMID, base Base) (Disk, error)
	// Deactivate takes the devices away and keeps the data. hint may be empty or stale.
	Deactivate(ctx context.Context, id model.VMID, hint model.DiskHandles) error
	// Remove takes away devices and data.
	Remove(ctx context.Context, id model.VMID, hint model.DiskHandles) error
	// Usage tells what the VM's own layer takes on the host.
	Usage(ctx context.Context, id model.VMID) (Usage, error)
	// Sweep removes what bears this installation's mark and is not in keep.
	Sweep(ctx context.Context, keep map[model.VMID]Keep) error
}

// Finder is the power of a driver whose disks have devices to tell those that a VM has now, when what was recorded of them
// may be lost. Of a VM without devices it tells none.
type Finder interface {
	Find(ctx context.Context, id model.VMID) (model.DiskHandles, error)
}

// Checker is the power of a driver whose disk can be lost while a VMM uses it to say that it was, and why. Of a disk that is
// whole, or not active, Check returns nil.
type Checker interface {
	Check(ctx context.Context, id model.VMID) error
}

// Features is what a driver needs of others, and whether it can run here. All but Problem is the same on every host.
type Features struct {
	Format  string     // of all its drives; the VMM must take it
	Join    model.Join // how the agent makes the root of them
	Problem string     // why it cannot run on this host and what would help; "" when it can
}

// Disk is an active root disk.
type Disk struct {
	Drives  []model.Drive // in the order in which the VMM attaches them; their serials are those of the driver's Join
	Handles model.DiskHandles
}

// Usage is what a root disk takes.
type Usage struct {
	Bytes int64 // allocated on the host
}

// Keep says how much of a VM's disk a Sweep leaves.
type Keep int

// The degrees; the zero value, nothing, is what a VM that is not in the map gets.
const (
	KeepNothing Keep = iota
	KeepData         // the VM is at rest: no devices
	KeepDevices      // the VM lives
)
