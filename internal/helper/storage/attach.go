package storage

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

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
	s, err := h.whole(dm, id, base, cow)
	if err != nil {
		return fail(err)
	}
	if s.Name == "" {
		if s, err = h.anew(ctx, dm, id, base, cow, sectors); err != nil {
			return fail(errors.Join(err, h.Detach(context.WithoutCancel(ctx), id)))
		}
	}
	if err := h.finish(dm, &s); err != nil {
		return fail(errors.Join(err, h.Detach(context.WithoutCancel(ctx), id)))
	}
	crash.At("storage.attach.after")
	return s, nil
}

// anew makes what Attach makes, all but the node, in the place of whatever there is of it.
func (h *Host) anew(ctx context.Context, dm *control, id model.VMID, base, cow *os.File, sectors uint64) (Snapshot, error) {
	some, err := h.some(dm, id)
	if some {
		err = h.Detach(ctx, id)
	}
	if err != nil {
		return Snapshot{}, err
	}
	crash.At("storage.attach.before")
	return h.attach(dm, id, base, cow, sectors)
}

// attach makes the loop devices and the mapped device over them.
func (h *Host) attach(dm *control, id model.VMID, base, cow *os.File, sectors uint64) (Snapshot, error) {
	below, err := newLoop(base, h.label(id, partBase), true)
	if err != nil {
		return Snapshot{}, err
	}
	defer below.Close() // the mapped device has it open by then
	crash.At("storage.attach.base")
	above, err := newLoop(cow, h.label(id, partCOW), false)
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
	if slices.Contains([]string{"Invalid", "Overflow", "Unknown"}, strings.TrimSpace(state.params)) {
		return model.Errorf(model.ErrCorrupt, "the changes could not be written at some time, because the host's file system was full or its disk failed, and the kernel gave them up (%s); delete the VM and make it anew", state.params)
	}
	s.Dev, s.Node = number(state.dev), h.node(s.ID)
	return h.makeNode(s.ID, state.dev)
}

// some says whether anything of the VM's is there.
func (h *Host) some(dm *control, id model.VMID) (bool, error) {
	if _, err := dm.status(h.uuid(id), true); !errors.Is(err, errNoDevice) {
		return true, err
	}
	if _, err := os.Lstat(h.node(id)); err == nil {
		return true, nil
	}
	loops, err := h.loops()
	return slices.ContainsFunc(loops, func(l loop) bool { return l.id == id }), err
}

// whole returns the VM's snapshot, all but its node, if it is there, runs, and is one of these two files; else its name is
// "".
func (h *Host) whole(dm *control, id model.VMID, base, cow *os.File) (Snapshot, error) {
	state, err := dm.status(h.uuid(id), true)
	if errors.Is(err, errNoDevice) {
		return Snapshot{}, nil
	}
	if err != nil || !state.active || state.removing {
		return Snapshot{}, err
	}
	loops, err := h.loops()
	if err != nil {
		return Snapshot{}, err
	}
	var found [2]loop
	for i, want := range []struct {
		part string
		file *os.File
	}{{partBase, base}, {partCOW, cow}} {
		at := slices.IndexFunc(loops, func(l loop) bool { return l.id == id && l.part == want.part })
		if at < 0 {
			return Snapshot{}, nil
		}
		found[i] = loops[at]
		if same, err := found[i].over(want.file); err != nil || !same {
			return Snapshot{}, err
		}
	}
	if !strings.HasPrefix(state.params, found[0].dev+" "+found[1].dev+" ") {
		return Snapshot{}, nil
	}
	return Snapshot{ID: id, Name: state.name, BaseLoop: found[0].path, COWLoop: found[1].path}, nil
}
