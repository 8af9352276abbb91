package vm

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/rootdisk"
	"banger/internal/store"
	"banger/internal/vmm"
)

// Reconcile makes what the database says and what the host holds agree, once, before the service answers anyone: living
// VMs are adopted untouched, half-made and half-deleted ones are undone or finished, and what bears our mark and has no
// row is taken away. What must wait for a guest goes on in the background. One VM that cannot be settled does not keep
// the others: the errors are joined, and each such VM carries its own.
func (s *Service) Reconcile(ctx context.Context) error {
	errs := []error{s.Store.FailRunningOperations(ctx, "the daemon ended")}
	vms, err := s.Store.VMs(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, v := range vms {
		if err := s.reconcile(ctx, v); err != nil {
			s.Log.Error("cannot settle a VM", "vm", string(v.ID), "name", v.Name, "error", err)
			errs = append(errs, err)
		}
	}
	s.recoverProjects(ctx, vms)
	return errors.Join(append(errs, s.sweep(ctx))...)
}

func (s *Service) reconcile(ctx context.Context, v model.VM) error {
	e := s.entry(v.ID)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	v, err := s.Store.VM(ctx, v.ID)
	if err != nil || e.current() != nil {
		return err
	}
	if v.Leased && v.State != model.StateCreating && v.State != model.StateDeleting {
		defer s.expire(v.ID)
	}
	switch v.State {
	case model.StateCreating:
		return s.undoHalf(ctx, e, v)
	case model.StateDeleting:
		return s.remove(ctx, e, v)
	case model.StateStopped, model.StateFailed:
		return s.settleAtRest(ctx, e, v)
	}
	machine, err := s.find(ctx, v)
	if errors.Is(err, model.ErrNotFound) {
		return s.settleDead(ctx, e, v)
	}
	if err != nil {
		// It lives and cannot be steered: it stays listed, with its problem, until it is deleted or the next try.
		e.setProblem("cannot take the VM over: " + err.Error())
		return err
	}
	h := s.loadHandles(v.ID)
	h.VMM, h.Jail = machine.Process(), vmm.JailOf(machine)
	if err := s.adopt(e, machine); err != nil {
		return err
	}
	e.setProblem("")
	h.Disk = s.refind(ctx, v, h.Disk)
	h.Net = s.relink(ctx, e, v, h.VMM, h.Net)
	if err := s.saveHandles(e, h); err != nil {
		return err
	}
	s.Log.Info("adopted a living VM", "vm", string(v.ID), "name", v.Name, "pid", h.VMM.PID, "state", v.State.String())
	s.wg.Go(func() { s.resume(e, v, h) })
	return nil
}

// undoHalf takes away a VM whose creation ended with the daemon: its client was never told that it exists.
func (s *Service) undoHalf(ctx context.Context, e *entry, v model.VM) error {
	if _, err := s.setState(ctx, e, model.StateDeleting, store.Transition{}); err != nil {
		return err
	}
	crash.At("reconcile.undo.after")
	return s.remove(ctx, e, v)
}

// settleAtRest makes sure that nothing of a VM at rest is on the host: a teardown may have been cut short.
func (s *Service) settleAtRest(ctx context.Context, e *entry, v model.VM) error {
	lives, err := s.alive(v.ID)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(s.handlesFile(v.ID)); !lives && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return s.end(ctx, e, v)
}

// settleDead writes what became of a VM whose VMM is gone.
func (s *Service) settleDead(ctx context.Context, e *entry, v model.VM) error {
	lost := s.diskLost(ctx, v)
	err := s.end(ctx, e, v)
	to, reason := model.StateStopped, ""
	switch v.State {
	case model.StateStarting:
		to, reason = model.StateFailed, "the daemon ended while the VM started; start it again with: banger vm start "+v.Name
	case model.StateRunning, model.StatePausing, model.StatePaused:
		reason = "the VMM ended while no daemon ran"
	}
	reason = cmp.Or(lost, reason)
	_, stateErr := s.setState(ctx, e, to, store.Transition{LastError: &reason})
	return errors.Join(err, stateErr)
}

// resume goes on with what needs an adopted VM's guest: it finishes a start or a stop that the last daemon began, or
// learns a running guest's boot id anew.
func (s *Service) resume(e *entry, v model.VM, h model.Handles) {
	ctx := operation.WithLogger(s.ctx, s.Log.With("vm", string(v.ID)))
	var err error
	switch v.State {
	case model.StateStarting:
		err = s.finishStart(ctx, e, v, lenient)
	case model.StateStopping:
		s.askGuest(ctx, e, s.Limits.Stop)
		err = s.finishStop(ctx, e, v, "")
	default:
		s.followPorts(e, v)
		err = s.relearn(ctx, e, h)
	}
	if err != nil && s.ctx.Err() == nil {
		s.Log.Error("cannot go on with an adopted VM", "vm", string(v.ID), "error", err)
	}
}

func (s *Service) relearn(ctx context.Context, e *entry, h model.Handles) error {
	l := e.current()
	if l == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	g, err := l.connect(ctx)
	if err != nil {
		return err
	}
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	if e.current() != l || h.Boot == g.Hello().BootID {
		return nil
	}
	h = e.cachedHandles() // its ports may have changed meanwhile
	h.Boot = g.Hello().BootID
	return s.saveHandles(e, h)
}

// sweep takes away what is ours and belongs to no VM.
func (s *Service) sweep(ctx context.Context) error {
	vms, err := s.Store.VMs(ctx)
	if err != nil {
		return err
	}
	keep := map[model.VMID]bool{}
	keepDisks := map[model.VMID]rootdisk.Keep{}
	for _, v := range vms {
		keep[v.ID] = true
		keepDisks[v.ID] = rootdisk.KeepData
		if l := s.entry(v.ID).current(); l != nil {
			keepDisks[v.ID] = rootdisk.KeepDevices
		}
	}
	var errs []error
	if s.Store.Created() {
		// Directories that lie about then belong to rows that are lost: they are not rubbish.
		s.Log.Warn("the database is new; VM directories without a row are left alone")
	} else {
		errs = append(errs, s.sweepDirectories(ctx, keep))
	}
	for _, d := range s.VMMs {
		errs = append(errs, d.Sweep(ctx, keep))
	}
	for _, d := range s.Networks {
		errs = append(errs, d.Sweep(ctx, keep))
	}
	for _, d := range s.RootDisks {
		errs = append(errs, d.Sweep(ctx, keepDisks))
	}
	return errors.Join(errs...)
}

// sweepDirectories removes VM directories without a row. One whose VMM lives loses that first. Anything whose name is not
// a VM id is not ours and stays.
func (s *Service) sweepDirectories(ctx context.Context, keep map[model.VMID]bool) error {
	entries, err := os.ReadDir(s.Dirs.VMs())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range entries {
		id := model.VMID(d.Name())
		if keep[id] || !id.Valid() {
			continue
		}
		s.Log.Warn("removing a VM directory without a row", "vm", string(id))
		errs = append(errs, s.killStray(ctx, id))
		errs = append(errs, os.RemoveAll(filepath.Join(s.Dirs.VMs(), d.Name())))
	}
	return errors.Join(errs...)
}

func (s *Service) killStray(ctx context.Context, id model.VMID) error {
	for _, d := range s.VMMs {
		machine, err := s.find(ctx, model.VM{ID: id, Name: string(id), VMM: d.Name()})
		if errors.Is(err, model.ErrNotFound) {
			return nil
		}
		if err != nil {
			continue // another driver may know it
		}
		defer machine.Close()
		return machine.Kill(ctx)
	}
	return model.Errorf(model.ErrUnavailable, "a process holds the lock of %s, which has no VM, and cannot be identified", id)
}
