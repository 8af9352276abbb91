package vm

import (
	"cmp"
	"context"
	"errors"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/rootdisk"
	"banger/internal/store"
)

// Stop ends a running VM in good order: the guest's init is asked, what was written is synced, the power is cut. A guest
// that has not ended after grace is killed. A VM that is at rest already is fine.
func (s *Service) Stop(ctx context.Context, id model.VMID, grace time.Duration) (*operation.Operation, error) {
	return s.Operations.Start(ctx, "stop", string(id), "", func(ctx context.Context, op *operation.Operation) error {
		if err := s.stopVM(ctx, id, grace, op); err != nil {
			return err
		}
		return s.publish(ctx, id, op)
	})
}

// Kill ends a running VM at once. What the guest had not synced is lost. A VM at rest is an ErrState.
func (s *Service) Kill(ctx context.Context, id model.VMID) (*operation.Operation, error) {
	return s.Operations.Start(ctx, "kill", string(id), "", func(ctx context.Context, op *operation.Operation) error {
		if err := s.kill(ctx, id); err != nil {
			return err
		}
		return s.publish(ctx, id, op)
	})
}

// Restart stops a VM where it runs and starts it.
func (s *Service) Restart(ctx context.Context, id model.VMID, grace time.Duration) (*operation.Operation, error) {
	return s.Operations.Start(ctx, "restart", string(id), "", func(ctx context.Context, op *operation.Operation) error {
		if err := s.stopVM(ctx, id, grace, op); err != nil {
			return err
		}
		if err := s.start(ctx, id, op); err != nil {
			return err
		}
		return s.publish(ctx, id, op)
	})
}

func (s *Service) stopVM(ctx context.Context, id model.VMID, grace time.Duration, op *operation.Operation) error {
	e := s.entry(id)
	for {
		v, err := s.intendStop(ctx, e)
		if err != nil {
			return err
		}
		switch v.State {
		case model.StateStopped, model.StateFailed:
			return nil
		case model.StateStopping:
			op.Report(model.Progress{Stage: "stop the guest"})
			s.noteClean(ctx, e)
			if !s.askGuest(ctx, e, grace) && grace > 0 {
				op.Warn("the guest of " + v.Name + " did not end within " + grace.String() + ": what still ran in it was killed; to give it longer: banger vm stop -t TIME " + v.Name)
			}
			return s.finishStop(ctx, e, v, "")
		case model.StateDeleting, model.StateCreating:
			return stateError("stop", v)
		}
	}
}

// intendStop writes the intent to stop a VM that lives. It waits while another stop is under way and returns the row: in
// state stopping when the caller is to do it, at rest when there is nothing to do.
func (s *Service) intendStop(ctx context.Context, e *entry) (model.VM, error) {
	for {
		changed := e.change()
		if err := e.acquire(ctx); err != nil {
			return model.VM{}, err
		}
		v, err := s.Store.VM(ctx, e.id)
		if err == nil && v.State.CanBecome(model.StateStopping) {
			crash.At("stop.intent.before")
			v, err = s.setState(ctx, e, model.StateStopping, store.Transition{})
			crash.At("stop.intent.after")
			e.unlock()
			return v, err
		}
		e.unlock()
		if err != nil || v.State != model.StateStopping {
			return v, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}

// askGuest has the guest shut itself down and waits until its VMM has ended, for as long as grace allows. It says whether
// that has ended in time, or is being ended by somebody else. A guest that does not answer is no error: it is killed next.
func (s *Service) askGuest(ctx context.Context, e *entry, grace time.Duration) bool {
	l := e.current()
	if l == nil {
		return true
	}
	// The sync alone may take its time on a busy host; a grace of zero still gets it.
	ctx, cancel := context.WithTimeout(ctx, grace+2*time.Second)
	defer cancel()
	g, err := l.connect(ctx)
	if err != nil {
		operation.Logger(ctx).Warn("the guest does not answer; it will be killed", "error", err)
		return false
	}
	asked := time.Now()
	if err := g.Stop(ctx, grace); err != nil {
		select {
		case <-g.Done(): // with its VMM, perhaps
			if l.hasEnded() {
				return true
			}
		default:
		}
		operation.Logger(ctx).Warn("the guest did not stop; it will be killed", "error", err)
		return false
	}
	select {
	case <-l.machine.Done():
		// After the grace the agent ends by force what has not ended, and switches the power off like any other guest.
		return time.Since(asked) < grace
	case <-ctx.Done():
		operation.Logger(ctx).Warn("the guest did not end in time; it will be killed")
		return false
	}
}

// finishStop kills what is left, takes away what the VM had on the host and writes that it is stopped.
func (s *Service) finishStop(ctx context.Context, e *entry, v model.VM, reason string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Teardown)
	defer cancel()
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	now, err := s.Store.VM(ctx, e.id)
	if err != nil || now.State != model.StateStopping {
		return model.Errorf(model.ErrState, "%s was deleted while it stopped", v.Name)
	}
	reason = cmp.Or(s.diskLost(ctx, now), reason)
	crash.At("stop.end.before")
	err = s.end(ctx, e, now)
	crash.At("stop.end.after")
	if err != nil {
		reason = err.Error()
	}
	_, stateErr := s.setState(ctx, e, model.StateStopped, store.Transition{LastError: &reason})
	crash.At("stop.outcome.after")
	return errors.Join(err, stateErr)
}

func (s *Service) kill(ctx context.Context, id model.VMID) error {
	e := s.entry(id)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	v, err := s.Store.VM(ctx, id)
	switch {
	case err != nil:
	case v.State == model.StateStopping: // a stop is waiting for the guest: ending the VMM ends its wait
		err = s.killMachine(ctx, e, v)
		e.unlock()
		return err
	case v.State.CanBecome(model.StateStopping):
		v, err = s.setState(ctx, e, model.StateStopping, store.Transition{})
	default:
		err = stateError("kill", v)
	}
	e.unlock()
	if err != nil {
		return err
	}
	return s.finishStop(ctx, e, v, "")
}

// end makes sure that the VM's VMM is dead and takes away everything that it had on the host, data excepted. Every step
// runs; what is already gone is done. The caller holds the lock.
func (s *Service) end(ctx context.Context, e *entry, v model.VM) error {
	errs := []error{s.killMachine(ctx, e, v)}
	h := e.cachedHandles()
	if h == (model.Handles{}) {
		h = s.loadHandles(v.ID)
	}
	dir := s.Dirs.VM(v.ID)
	if d, err := s.vmm(v.VMM); err == nil {
		errs = append(errs, d.Remove(ctx, v.ID, dir, h))
	}
	if d, err := s.network(v.Network); err == nil {
		errs = append(errs, d.Clear(ctx, v.ID, h.Net))
	}
	e.clearLink()
	if d, err := s.rootDisk(v.RootDisk); err == nil {
		errs = append(errs, d.Deactivate(ctx, v.ID, h.Disk))
	}
	errs = append(errs, s.clearHandles(e))
	return errors.Join(errs...)
}

// killMachine ends the VM's VMM, known or not, and returns when it is dead. The caller holds the lock.
func (s *Service) killMachine(ctx context.Context, e *entry, v model.VM) error {
	l := e.current()
	if l == nil {
		machine, err := s.find(ctx, v)
		if errors.Is(err, model.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		defer machine.Close()
		return machine.Kill(ctx)
	}
	err := l.machine.Kill(ctx)
	if err == nil {
		e.release()
	}
	return err
}

// watch notices that a VMM has died. Whoever asked for that writes what follows from it; a VMM that ended by itself leaves
// its VM stopped, with the cause.
func (s *Service) watch(e *entry, l *live) {
	select {
	case <-l.machine.Done():
	case <-s.ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.Limits.Teardown)
	defer cancel()
	if e.acquire(ctx) != nil {
		return
	}
	defer e.unlock()
	if e.current() != l {
		return
	}
	v, err := s.Store.VM(ctx, e.id)
	if err != nil || (v.State != model.StateRunning && v.State != model.StatePaused) {
		return
	}
	if err := s.settle(ctx, e, v, l.machine.Exit().String()); err != nil {
		s.Log.Error("cannot clean up after a VMM that ended", "vm", string(e.id), "error", err)
	}
}

// settle cleans up after a VMM that ended by itself and writes why. The caller holds the lock.
func (s *Service) settle(ctx context.Context, e *entry, v model.VM, reason string) error {
	s.Log.Warn("a VMM ended by itself", "vm", string(v.ID), "name", v.Name, "reason", reason)
	reason = cmp.Or(s.diskLost(ctx, v), reason)
	err := s.end(ctx, e, v)
	_, stateErr := s.setState(ctx, e, model.StateStopped, store.Transition{LastError: &reason})
	return errors.Join(err, stateErr)
}

// diskLost says that a VM's root disk was lost while it lived, for which nothing else is the reason then, or "". It is asked
// while the disk is active.
func (s *Service) diskLost(ctx context.Context, v model.VM) string {
	d, err := s.rootDisk(v.RootDisk)
	if err != nil {
		return ""
	}
	checker, ok := d.(rootdisk.Checker)
	if !ok {
		return ""
	}
	if err = checker.Check(ctx, v.ID); errors.Is(err, model.ErrCorrupt) {
		return err.Error()
	}
	if err != nil {
		s.Log.Warn("cannot tell whether a VM's root disk is whole", "vm", string(v.ID), "error", err)
	}
	return ""
}
