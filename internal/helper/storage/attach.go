package storage

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

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
	s, mapped, err := h.whole(dm, id, base, cow)
	if err != nil {
		return fail(err)
	}
	if s.Name == "" {
		if err := h.restart(ctx, id, mapped); err != nil {
			return fail(err)
		}
		crash.At("storage.attach.before")
		if s, err = h.attach(dm, id, base, cow, sectors); err != nil {
			return fail(errors.Join(err, h.Detach(context.WithoutCancel(ctx), id)))
		}
	}
	if err := h.finish(dm, &s); err != nil {
		return fail(errors.Join(err, h.Detach(context.WithoutCancel(ctx), id)))
	}
	crash.At("storage.attach.after")
	return s, nil
}

// restart takes away what there is of the VM's snapshot, if anything. mapped says that there is a mapped device. Loop
// devices that a crash left without one end by themselves: the kernel frees each at its last close.
func (h *Host) restart(ctx context.Context, id model.VMID, mapped bool) error {
	if _, err := os.Lstat(h.node(id)); err != nil && !mapped {
		return nil
	}
	return h.Detach(ctx, id)
}

// attach makes the loop devices and the mapped device over them.
func (h *Host) attach(dm *control, id model.VMID, base, cow *os.File, sectors uint64) (Snapshot, error) {
	below, err := h.newLoop(base, h.label(id, partBase), unix.LO_FLAGS_AUTOCLEAR|unix.LO_FLAGS_READ_ONLY)
	if err != nil {
		return Snapshot{}, err
	}
	defer below.Close() // the mapped device has it open by then
	crash.At("storage.attach.base")
	above, err := h.newLoop(cow, h.label(id, partCOW), unix.LO_FLAGS_AUTOCLEAR)
	if err != nil {
		return Snapshot{}, err
	}
	defer above.Close()
	crash.At("storage.attach.cow")
	table, err := snapshotTable(below, above)
	if err != nil {
		return Snapshot{}, err
	}
	if err := dm.create(h.name(id), h.uuid(id)); err != nil {
		return Snapshot{}, err
	}
	crash.At("storage.attach.created")
	if err := dm.load(h.uuid(id), sectors, table); err != nil {
		return Snapshot{}, err
	}
	crash.At("storage.attach.loaded")
	if err := dm.resume(h.uuid(id)); err != nil {
		return Snapshot{}, err
	}
	crash.At("storage.attach.resumed")
	return Snapshot{ID: id, Name: h.name(id), BaseLoop: below.Name(), COWLoop: above.Name()}, nil
}

// finish makes the node of a mapped device that is there, provided that it can still be used.
func (h *Host) finish(dm *control, s *Snapshot) error {
	state, err := dm.status(h.uuid(s.ID), false)
	if err != nil {
		return err
	}
	s.Lost = lost(state)
	if err := s.Err(); err != nil {
		return err
	}
	s.Dev, s.Node = number(state.dev), h.node(s.ID)
	return h.makeNode(s.ID, state.dev)
}

// lost is the kernel's word for a snapshot that it has given up, or "".
func lost(state mapped) string {
	word := strings.TrimSpace(state.params)
	if slices.Contains([]string{"Invalid", "Overflow", "Unknown"}, word) {
		return word
	}
	return ""
}

// whole returns the VM's snapshot, all but its node, if it is there, runs, and is one of these two files; else its name is
// "". mapped says whether there is a mapped device at all.
func (h *Host) whole(dm *control, id model.VMID, base, cow *os.File) (s Snapshot, mapped bool, err error) {
	state, err := dm.status(h.uuid(id), true)
	if errors.Is(err, errNoDevice) {
		return Snapshot{}, false, nil
	}
	if err != nil || !state.active || state.removing {
		return Snapshot{}, true, err
	}
	loops, err := h.loops(isSnapshot)
	if err != nil {
		return Snapshot{}, true, err
	}
	over := strings.Fields(state.params) // it begins with the numbers of the devices below
	if len(over) < 2 {
		return Snapshot{}, true, nil
	}
	var found [2]loop
	for i, want := range []struct {
		part string
		file *os.File
	}{{partBase, base}, {partCOW, cow}} {
		at := slices.IndexFunc(loops, func(l loop) bool { return l.id == id && l.part == want.part && l.dev == over[i] })
		if at < 0 {
			return Snapshot{}, true, nil
		}
		found[i] = loops[at]
		if same, err := found[i].over(want.file); err != nil || !same {
			return Snapshot{}, true, err
		}
	}
	return Snapshot{ID: id, Name: state.name, BaseLoop: found[0].path, COWLoop: found[1].path}, true, nil
}
