package vm

import (
	"context"
	"errors"
	"time"

	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/workspace"
)

// compareLimit is how long a stop looks for changes that were not taken out. What takes longer counts as changed.
const compareLimit = 5 * time.Second

// Unexported says in a few words what of a VM's workspace its deletion would lose, "" for nothing. A guest that cannot be
// asked may hold anything, unless its stop found nothing or nothing was ever done in it.
func (s *Service) Unexported(ctx context.Context, id model.VMID) (string, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return "", err
	}
	if v.Workspace.Guest == "" {
		return "", nil
	}
	w, err := s.Store.Workspace(ctx, id)
	if err != nil {
		return "", err
	}
	if v.State != model.StateRunning {
		if knownClean(v, w) {
			return "", nil
		}
		return "its workspace may have changes that were not taken out, and it does not run to be asked", nil
	}
	changed := false
	err = s.withProject(ctx, id, true, func(w model.Workspace, p workspace.Workspace, g workspace.Guest) (err error) {
		changed, err = p.Changed(ctx, g, w.ExportedTree)
		return err
	})
	switch {
	case errors.Is(err, model.ErrCanceled):
		return "", err
	case err != nil:
		return "its workspace cannot be compared: " + err.Error(), nil //nolint:nilerr // the error is the answer
	case changed:
		return "its workspace has changes that were not taken out", nil
	}
	return "", nil
}

// knownClean says of a VM that cannot be asked whether all that it holds is out. That a command began before an export
// tells nothing: it may have gone on after it. So only what the stop found counts, and a command that began while it
// looked is one too many.
func knownClean(v model.VM, w model.Workspace) bool {
	if v.UsedAt.IsZero() && w.AppliedAt.IsZero() {
		return true // as it was copied in
	}
	return !w.CleanAt.IsZero() && !v.UsedAt.After(w.CleanAt)
}

// noteClean records, of a guest that is about to be stopped, that all of its changes are out, where that is so. Whatever
// stands against that, or takes too long, leaves the VM counted as changed and stops it all the same.
func (s *Service) noteClean(ctx context.Context, e *entry) {
	ctx, cancel := context.WithTimeout(ctx, compareLimit)
	defer cancel()
	if err := s.compareAtStop(ctx, e); err != nil {
		operation.Logger(ctx).Warn("cannot compare the workspace before the stop; it counts as changed", "error", err)
	}
}

func (s *Service) compareAtStop(ctx context.Context, e *entry) error {
	w, err := s.Store.Workspace(ctx, e.id)
	if errors.Is(err, model.ErrNotFound) {
		return nil // there is none
	}
	if err != nil {
		return err
	}
	if _, err := s.scratch(); err != nil {
		return err
	}
	if err := e.acquireProject(ctx); err != nil {
		return err
	}
	defer e.releaseProject()
	if err := s.recoverProject(ctx, w); err != nil {
		return err
	}
	if w, err = s.Store.Workspace(ctx, e.id); err != nil { // what was settled is another base
		return err
	}
	l := e.current()
	if l == nil {
		return model.Errorf(model.ErrUnavailable, "its VMM has ended")
	}
	g, err := l.connect(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	changed, err := s.project(w).Changed(ctx, guestTree{g}, w.ExportedTree)
	if err != nil || changed {
		return err
	}
	return s.Store.SetWorkspaceClean(ctx, e.id, w.BaseTree, began)
}
