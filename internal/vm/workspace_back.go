package vm

import (
	"context"
	"io"
	"os"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/workspace"
)

// guestTree is a guest as package workspace sees it.
type guestTree struct{ g *guest.Guest }

func (t guestTree) List(ctx context.Context, root string, visit func(workspace.GuestFile) error) error {
	return t.g.ListTree(ctx, root, func(f guest.TreeFile) error {
		kind := workspace.KindFile
		switch {
		case f.Git:
			kind = workspace.KindGit
		case f.Special:
			kind = workspace.KindSpecial
		case f.Link:
			kind = workspace.KindLink
		}
		return visit(workspace.GuestFile{Path: f.Path, Kind: kind, Exec: f.Exec, Size: f.Size, Target: f.Target})
	})
}

func (t guestTree) Hash(ctx context.Context, root, format string, paths []string) ([]string, error) {
	return t.g.HashTree(ctx, root, format, paths)
}

func (t guestTree) Read(ctx context.Context, root string, paths []string, w io.Writer) error {
	return t.g.ReadTree(ctx, root, paths, w)
}

// withProject does something with a VM's workspace and, for those that need it, its running guest. Others that want the
// same workspace wait; the VM itself can be stopped and deleted meanwhile.
func (s *Service) withProject(ctx context.Context, id model.VMID, needGuest bool, do func(w model.Workspace, p workspace.Workspace, g workspace.Guest) error) error {
	if _, err := s.scratch(); err != nil {
		return err
	}
	e := s.entry(id)
	if err := e.acquireProject(ctx); err != nil {
		return err
	}
	defer e.releaseProject()
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return err
	}
	w, err := s.Store.Workspace(ctx, id)
	if err != nil {
		return err
	}
	p := s.project(w)
	if err := s.recoverProject(ctx, w); err != nil {
		return err
	}
	if !needGuest {
		return do(w, p, nil)
	}
	if v.State != model.StateRunning {
		return stateError("compare the workspace of", v)
	}
	g, err := s.guest(ctx, id)
	if err != nil {
		return err
	}
	return do(w, p, guestTree{g})
}

// DiffWorkspace compares the guest's files with what was copied in: review is called first, then the patch is written to
// out, unless that is nil.
func (s *Service) DiffWorkspace(ctx context.Context, id model.VMID, o workspace.FetchOptions, review func(workspace.Review) error, out io.Writer) error {
	return s.withProject(ctx, id, true, func(_ model.Workspace, p workspace.Workspace, g workspace.Guest) error {
		return p.Diff(ctx, g, o, model.Discard, review, out)
	})
}

// MarkExported records that the user has a patch of the state that a review's tree names.
func (s *Service) MarkExported(ctx context.Context, id model.VMID, tree string) error {
	if !workspace.ValidTree(tree) {
		return model.Errorf(model.ErrInvalid, "%q does not name a state of a workspace", tree)
	}
	return s.Store.SetWorkspaceExported(ctx, id, tree)
}

// ApplyWorkspace writes what the guest changed to the host's project, all or nothing. Once it has begun to write, it goes
// on without whoever asked for it.
func (s *Service) ApplyWorkspace(ctx context.Context, id model.VMID, o workspace.FetchOptions) (workspace.Review, error) {
	var review workspace.Review
	err := s.operate(ctx, "workspace-apply", id, func(ctx context.Context, op *operation.Operation) error {
		return s.withProject(ctx, id, true, func(_ model.Workspace, p workspace.Workspace, g workspace.Guest) (err error) {
			review, err = p.Apply(ctx, g, o, s.workspaceJournal(id), s.commitProject(ctx, id), op.Report)
			return err
		})
	})
	return review, err
}

// UndoWorkspace takes the last apply back.
func (s *Service) UndoWorkspace(ctx context.Context, id model.VMID) ([]workspace.Change, error) {
	var changes []workspace.Change
	err := s.operate(ctx, "workspace-undo", id, func(ctx context.Context, _ *operation.Operation) error {
		return s.withProject(ctx, id, false, func(w model.Workspace, p workspace.Workspace, _ workspace.Guest) (err error) {
			if w.UndoTree == "" {
				return model.Errorf(model.ErrState, "cannot undo: nothing has been applied since the last undo")
			}
			changes, err = p.Undo(ctx, w.UndoTree, s.workspaceJournal(id), s.commitProject(ctx, id))
			return err
		})
	})
	return changes, err
}

// operate does work as an operation and waits for it; the work goes on when ctx ends.
func (s *Service) operate(ctx context.Context, kind string, id model.VMID, work operation.Work) error {
	op, err := s.Operations.Start(ctx, kind, string(id), "", work)
	if err != nil {
		return err
	}
	return op.Wait(ctx)
}

func (s *Service) commitProject(ctx context.Context, id model.VMID) workspace.Commit {
	return func(base, undo, fingerprint string) error {
		return s.Store.SetWorkspaceTrees(context.WithoutCancel(ctx), id, base, undo, fingerprint)
	}
}

// recoverProject settles an apply or undo that was cut short.
func (s *Service) recoverProject(ctx context.Context, w model.Workspace) error {
	return s.project(w).Recover(ctx, s.workspaceJournal(w.VM), s.commitProject(ctx, w.VM))
}

// settleProject lets a change of a project end before the VM that it came from goes. The caller holds the VM's lock.
func (s *Service) settleProject(ctx context.Context, e *entry, v model.VM) error {
	if _, err := os.Lstat(s.workspaceJournal(v.ID)); err != nil {
		return nil // there is none
	}
	if err := e.acquireProject(ctx); err != nil {
		return err
	}
	defer e.releaseProject()
	w, err := s.Store.Workspace(ctx, v.ID)
	if err == nil {
		err = s.recoverProject(ctx, w)
	}
	if err != nil { // its project is gone or closed to us: that must not keep the VM
		s.Log.Error("cannot settle a change of a project", "vm", string(v.ID), "project", v.Workspace.Host, "error", err)
	}
	return nil
}

// recoverProjects settles those that an earlier daemon did not live to end. A project that is gone keeps no daemon from
// starting: it is tried again by the next command about it.
func (s *Service) recoverProjects(ctx context.Context, vms []model.VM) {
	if err := s.sweepScratch(); err != nil {
		s.Log.Error("cannot sweep the scratch directory", "error", err)
	}
	for _, v := range vms {
		if v.Workspace.Guest == "" {
			continue
		}
		w, err := s.Store.Workspace(ctx, v.ID)
		if err == nil {
			err = s.recoverProject(ctx, w)
		}
		if err != nil {
			s.Log.Error("cannot settle a change of a project", "vm", string(v.ID), "project", v.Workspace.Host, "error", err)
		}
	}
}
