// Package storage makes dm-snapshots over two files: the verbs of root disks that only root can do.
//
// They are the whole of what a caller can ask of it: Attach, Detach and List. Attach takes a VM's id and two open
// descriptors, never a path or a name. Every name on the host (of the mapped device, of the loop devices' labels, of the
// node) is worked out of the installation's id and the VM's, so nothing needs to be remembered: after a crash, what is
// there is found by its name. What bears another installation's id, or none, is never touched.
//
// A snapshot is: a read-only loop device over the base, a loop device over the VM's own file, a device-mapper device over
// both, and its node, in a directory of the installation below /dev. The loop devices are free when the mapped device is
// gone (LO_FLAGS_AUTOCLEAR), also after a crash between two steps.
package storage

import (
	"banger/internal/model"
)

// Snapshot is what stands for a VM's snapshot on this host. Each part may be missing, after a crash.
type Snapshot struct {
	ID       model.VMID
	BaseLoop string // "/dev/loop3"
	COWLoop  string
	Name     string // of the mapped device
	Dev      string // its number, "254:0"
	Node     string // the block device to give to a VMM
	Lost     string // what the kernel calls changes that it could not keep and gave up, "Invalid"; else ""
}

// Err says that the changes are lost, if they are.
func (s Snapshot) Err() error {
	if s.Lost == "" {
		return nil
	}
	return model.Errorf(model.ErrCorrupt, "the changes could not be written at some time, because the host's file system was full or its disk failed, and the kernel gave them up (%s); delete the VM and make it anew", s.Lost)
}

// Options are what a Host needs.
type Options struct {
	Instance model.InstanceID
	UID, GID int // of whom the files must be, and the nodes will be

	Udev  Rules // nil where UdevRules were installed in UdevFile
	Jails Jails // nil where none is to be heeded
}

// Jails tell of the VMM of a VM that runs in one, by its pid, else 0. It was given the number of the snapshot's device, which
// it may open at any time: while it runs the number must not become another device's.
type Jails interface {
	Process(id model.VMID) (pid int, err error)
}

// Rules are UdevRules where nobody installed them.
type Rules interface {
	// Ready returns once udev has them.
	Ready() error
}

// Host is this host's kernel, as one installation may use it. It keeps nothing: any number of them are the same.
type Host struct{ o Options }

// New returns a Host. It touches nothing.
func New(o Options) *Host { return &Host{o} }

func (h *Host) check(id model.VMID) error {
	if !h.o.Instance.Valid() || !id.Valid() {
		return model.Errorf(model.ErrInvalid, "cannot name the devices of installation %q and VM %q", h.o.Instance, id)
	}
	return nil
}
