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
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"banger/internal/crash"
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
}

// Options are what a Host needs.
type Options struct {
	Instance model.InstanceID
	UID, GID int // of whom the files must be, and the nodes will be
}

// Host is this host's kernel, as one installation may use it. It keeps nothing: any number of them are the same.
type Host struct{ o Options }

// New returns a Host. It touches nothing.
func New(o Options) *Host { return &Host{o} }

// patience is how long Detach waits for whatever still has the device open. udev looks at each for a moment; a VMM that was
// killed is gone before its devices are taken away.
const patience = 10 * time.Second

// Attach makes the VM's snapshot of base, opened for reading, with the changes in cow, opened for reading and writing. A
// snapshot of the same two files that is there stays as it is; one that is not whole is made anew. Nothing is left behind
// when it fails.
func (h *Host) Attach(ctx context.Context, id model.VMID, base, cow *os.File) (Snapshot, error) {
	fail := func(err error) (Snapshot, error) {
		return Snapshot{}, model.HostErrorf(err, "cannot attach the snapshot of %s", id)
	}
	if err := errors.Join(ctx.Err(), h.check(id)); err != nil {
		return fail(err)
	}
	sectors, err := h.checkFiles(base, cow)
	if err != nil {
		return fail(err)
	}
	dm, err := openControl()
	if err != nil {
		return fail(err)
	}
	defer dm.close()
	have, err := h.whole(dm, id, base, cow)
	if err != nil {
		return fail(err)
	}
	if !have {
		if err := h.Detach(ctx, id); err != nil {
			return fail(err)
		}
		crash.At("storage.attach.before")
		if err := h.attach(dm, id, base, cow, sectors); err != nil {
			return fail(errors.Join(err, h.Detach(context.WithoutCancel(ctx), id)))
		}
	}
	s, err := h.finish(dm, id)
	if err != nil {
		return fail(errors.Join(err, h.Detach(context.WithoutCancel(ctx), id)))
	}
	crash.At("storage.attach.after")
	return s, nil
}

// attach makes the loop devices and the mapped device over them.
func (h *Host) attach(dm *control, id model.VMID, base, cow *os.File, sectors uint64) error {
	below, err := newLoop(base, h.label(id, partBase), true)
	if err != nil {
		return err
	}
	defer below.Close() // the mapped device has it open by then
	crash.At("storage.attach.base")
	above, err := newLoop(cow, h.label(id, partCOW), false)
	if err != nil {
		return err
	}
	defer above.Close()
	crash.At("storage.attach.cow")
	table, err := snapshotTable(below, above)
	if err != nil {
		return err
	}
	if err := dm.create(h.name(id), h.uuid(id)); err != nil {
		return err
	}
	crash.At("storage.attach.created")
	if err := dm.load(h.uuid(id), sectors, table); err != nil {
		return err
	}
	crash.At("storage.attach.loaded")
	if err := dm.resume(h.uuid(id)); err != nil {
		return err
	}
	crash.At("storage.attach.resumed")
	return nil
}

// finish makes the node of a mapped device that is there, and says what there is, provided that it can still be used.
func (h *Host) finish(dm *control, id model.VMID) (Snapshot, error) {
	state, err := dm.status(h.uuid(id), false)
	if err != nil {
		return Snapshot{}, err
	}
	if lost := state.params == "Invalid" || state.params == "Overflow" || strings.HasPrefix(state.params, "Unknown"); lost {
		return Snapshot{}, model.Errorf(model.ErrCorrupt, "the changes could not be written at some time, because the host's file system was full or its disk failed, and the kernel gave them up (%s); delete the VM and make it anew", state.params)
	}
	if err := h.makeNode(id, state.dev); err != nil {
		return Snapshot{}, err
	}
	all, err := h.list(dm)
	return all[id], err
}

// whole says whether the VM's snapshot is there, in use or ready for it, and is one of these two files.
func (h *Host) whole(dm *control, id model.VMID, base, cow *os.File) (bool, error) {
	state, err := dm.status(h.uuid(id), true)
	if errors.Is(err, errNoDevice) {
		return false, nil
	}
	if err != nil || !state.active || state.removing {
		return false, err
	}
	loops, err := h.loops()
	if err != nil {
		return false, err
	}
	table := make([]string, 2)
	for i, want := range []struct {
		part string
		file *os.File
	}{{partBase, base}, {partCOW, cow}} {
		at := slices.IndexFunc(loops, func(l loop) bool { return l.id == id && l.part == want.part })
		if at < 0 {
			return false, nil
		}
		same, err := loops[at].over(want.file)
		if err != nil || !same {
			return false, err
		}
		table[i] = loops[at].dev
	}
	return strings.HasPrefix(state.params, table[0]+" "+table[1]+" "), nil
}

// Detach takes the VM's snapshot away. That there is nothing is success. Every step runs whatever the others do.
func (h *Host) Detach(ctx context.Context, id model.VMID) error {
	if err := h.check(id); err != nil {
		return model.HostErrorf(err, "cannot detach the snapshot of %s", id)
	}
	crash.At("storage.detach.before")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := []error{h.removeNode(id), h.removeMapped(ctx, id)}
	crash.At("storage.detach.mapped")
	errs = append(errs, h.clearLoops(ctx, id))
	if err := errors.Join(errs...); err != nil {
		return model.HostErrorf(err, "cannot detach the snapshot of %s", id)
	}
	crash.At("storage.detach.after")
	return nil
}

// removeMapped removes the mapped device, once nothing has it open.
func (h *Host) removeMapped(ctx context.Context, id model.VMID) error {
	dm, err := openControl()
	if errors.Is(err, os.ErrNotExist) {
		return nil // without device-mapper there is none
	}
	if err != nil {
		return err
	}
	defer dm.close()
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.close()
	// When something has it open, the kernel removes it at the last close: there is nothing to retry.
	if err := dm.remove(h.uuid(id)); err != nil {
		return err
	}
	return events.until(ctx, "the device "+h.name(id)+" is still open; it goes when what has it open ends", func() (bool, error) {
		_, err := dm.status(h.uuid(id), false)
		if errors.Is(err, errNoDevice) {
			return true, nil
		}
		return false, err
	})
}

// clearLoops frees the loop devices of the VM, which free themselves when nothing has them open any more.
func (h *Host) clearLoops(ctx context.Context, id model.VMID) error {
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.close()
	return events.until(ctx, "a loop device of "+string(id)+" is still in use; it goes when what has it open ends", func() (bool, error) {
		loops, err := h.loops()
		errs := []error{err}
		gone := true
		for _, l := range loops {
			if l.id == id {
				gone = false
				errs = append(errs, h.clearLoop(l))
			}
		}
		return gone, errors.Join(errs...)
	})
}

// List returns what of this installation's is there, by VM.
func (h *Host) List(ctx context.Context) ([]Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, model.HostErrorf(err, "cannot list snapshots")
	}
	dm, err := openControl()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, model.HostErrorf(err, "cannot list snapshots")
	}
	if err == nil {
		defer dm.close()
	}
	all, err := h.list(dm)
	if err != nil {
		return nil, model.HostErrorf(err, "cannot list snapshots")
	}
	found := make([]Snapshot, 0, len(all))
	for _, s := range all {
		found = append(found, s)
	}
	slices.SortFunc(found, func(a, b Snapshot) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found, nil
}

// list is List by the VM's id; without a device-mapper, dm is nil.
func (h *Host) list(dm *control) (map[model.VMID]Snapshot, error) {
	all := map[model.VMID]Snapshot{}
	edit := func(id model.VMID, change func(*Snapshot)) {
		s := all[id]
		s.ID = id
		change(&s)
		all[id] = s
	}
	if dm != nil {
		devices, err := dm.devices()
		if err != nil {
			return nil, err
		}
		for _, d := range devices {
			if id, ok := h.ownerOfName(d.name); ok && d.uuid == h.uuid(id) {
				edit(id, func(s *Snapshot) { s.Name, s.Dev = d.name, number(d.dev) })
			}
		}
	}
	loops, err := h.loops()
	if err != nil {
		return nil, err
	}
	for _, l := range loops {
		edit(l.id, func(s *Snapshot) {
			if l.part == partBase {
				s.BaseLoop = l.path
			} else {
				s.COWLoop = l.path
			}
		})
	}
	nodes, err := h.nodes()
	if err != nil {
		return nil, err
	}
	for _, id := range nodes {
		edit(id, func(s *Snapshot) { s.Node = h.node(id) })
	}
	return all, nil
}

func (h *Host) check(id model.VMID) error {
	if !h.o.Instance.Valid() || !id.Valid() {
		return model.Errorf(model.ErrInvalid, "cannot name the devices of installation %q and VM %q", h.o.Instance, id)
	}
	return nil
}
