package vm

import (
	"context"
	"errors"
	"os"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/store"
	"banger/internal/workdisk"
)

// Delete removes a VM in any state. It returns when the VMM is dead, the files are gone and the row is too. Its result is
// the View as it last was.
func (s *Service) Delete(ctx context.Context, id model.VMID) (*operation.Operation, error) {
	return s.Operations.Start(ctx, "delete", string(id), "", func(ctx context.Context, op *operation.Operation) error {
		view, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		// Once begun, a delete goes on: half a deletion helps nobody.
		if err := s.delete(context.WithoutCancel(ctx), id); err != nil {
			return err
		}
		op.Result(view)
		return nil
	})
}

func (s *Service) delete(ctx context.Context, id model.VMID) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Teardown)
	defer cancel()
	e := s.entry(id)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	v, err := s.Store.VM(ctx, id)
	if errors.Is(err, model.ErrNotFound) {
		return nil // another delete was first
	}
	if err != nil {
		return err
	}
	if v.State != model.StateDeleting {
		crash.At("delete.intent.before")
		if v, err = s.setState(ctx, e, model.StateDeleting, store.Transition{}); err != nil {
			return err
		}
		crash.At("delete.intent.after")
	}
	if err := s.remove(ctx, e, v); err != nil {
		return model.Errorf(model.KindOf(err), "cannot delete %s: %w; the rest of it is gone; try again with: banger vm delete %s", v.Name, err, v.Name)
	}
	return nil
}

// remove takes away a VM altogether. The row goes last, so that whatever fails before can be tried again. The caller holds
// the lock and has written the intent.
func (s *Service) remove(ctx context.Context, e *entry, v model.VM) error {
	h := e.cachedHandles()
	if err := s.end(ctx, e, v); err != nil {
		return err
	}
	crash.At("delete.end.after")
	if err := s.settleProject(ctx, e, v); err != nil {
		return err
	}
	if d, err := s.rootDisk(v.RootDisk); err == nil {
		if err := d.Remove(ctx, v.ID, h.Disk); err != nil {
			return err
		}
	}
	crash.At("delete.disk.after")
	if err := workdisk.Remove(s.workDisk(v.ID)); err != nil {
		return err
	}
	// The directory is wholly ours: its name is the VM's id, below our own state directory.
	if err := os.RemoveAll(s.Dirs.VM(v.ID)); err != nil {
		return err
	}
	crash.At("delete.files.after")
	if err := s.Store.DeleteVM(ctx, v.ID); err != nil {
		return err
	}
	crash.At("delete.row.after")
	e.release()
	e.notify()
	s.forget(v.ID)
	return nil
}
