package vm

import (
	"context"
	"errors"
	"fmt"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/operation"
)

// maxBoots is how often one start boots a guest whose kernel measured its timer wrong.
const maxBoots = 4

// What a guest's kernel may take its processor's timer to run at, over the true rate (guest.Hello.TimerRate). A guest
// that is booted for the last time is taken with any from deadTimerRate on, below which Linux uses no timer at all
// (calibrate_APIC_clock).
const (
	maxTimerRate  = 1.1 // a tenth late
	minTimerRate  = 0.25
	deadTimerRate = 0.001
)

// mistimedError is why a guest is booted again: what its kernel takes its processor's timer to run at.
type mistimedError float64

func (e mistimedError) Error() string {
	return fmt.Sprintf("its kernel measured its processor's timer at %.4g of the true rate", float64(e))
}

// strict refuses a guest whose timers are wrong, lenient only one that has none.
func strict(rate float64) error {
	if rate != 0 && (rate < minTimerRate || rate > maxTimerRate) {
		return mistimedError(rate)
	}
	return nil
}

func lenient(rate float64) error {
	if rate != 0 && rate < deadTimerRate {
		return model.Errorf(model.ErrUnavailable, "the host is so busy that the guest's kernel finds no timer; try again")
	}
	return nil
}

// ready waits until the booted guest can run commands. One whose kernel measured its timer wrong is booted again, before
// anything of the VM has reached it.
func (s *Service) ready(ctx context.Context, e *entry, b boot, op *operation.Operation) error {
	for range maxBoots - 1 {
		err := s.finishStart(ctx, e, b.vm, strict)
		if !errors.As(err, new(mistimedError)) {
			return err
		}
		operation.Logger(ctx).Warn("the guest is booted again", "vm", string(e.id), "reason", err)
		if b.vm, err = s.bootAgain(ctx, e, b); err != nil {
			return err
		}
	}
	var rate float64
	err := s.finishStart(ctx, e, b.vm, func(r float64) error {
		rate = r
		return lenient(r)
	})
	if err == nil && rate > maxTimerRate {
		op.Warn(fmt.Sprintf("timers in %s take %.2f times as long as they should, because the host was very busy while it booted; stop and start it to mend that", b.vm.Name, rate))
	}
	return err
}

// bootAgain ends the guest of b and boots another in its place, still as part of the same start. A start that was canceled
// has a guest to end, too.
func (s *Service) bootAgain(ctx context.Context, e *entry, b boot) (model.VM, error) {
	if err := e.acquire(context.WithoutCancel(ctx)); err != nil {
		return b.vm, err
	}
	defer e.unlock()
	if err := s.stillStarts(ctx, e, b.vm); err != nil {
		return b.vm, err
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Teardown)
	defer cancel()
	if err := s.end(ending, e, b.vm); err != nil {
		return b.vm, s.failStart(ctx, e, err, nil)
	}
	crash.At("start.again")
	return s.bootNext(ctx, e, b)
}

// stillStarts says whether the start of v goes on, or v was stopped or deleted meanwhile. The caller holds the lock.
func (s *Service) stillStarts(ctx context.Context, e *entry, v model.VM) error {
	row, err := s.Store.VM(context.WithoutCancel(ctx), e.id)
	if err != nil || row.State != model.StateStarting || row.Generation != v.Generation {
		return model.Errorf(model.ErrState, "%s was stopped or deleted while it started", v.Name)
	}
	return nil
}

// bootNext boots the VM's next generation, or leaves it failed. The caller holds the lock.
func (s *Service) bootNext(ctx context.Context, e *entry, b boot) (v model.VM, err error) {
	if b.vm.Generation, err = s.Store.NextGeneration(ctx, e.id); err != nil {
		return b.vm, s.failStart(ctx, e, err, &undo{})
	}
	var u undo
	if err := s.boot(ctx, e, b, &u); err != nil {
		return b.vm, s.failStart(ctx, e, err, &u)
	}
	return b.vm, nil
}
