package vm

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/workspace"
)

// defaultHome is where projects go when nothing else is said.
const defaultHome = "/root"

// The files of a workspace in a VM's directory.
func (s *Service) workspaceStore(id model.VMID) string {
	return filepath.Join(s.Dirs.VM(id), "workspace.git")
}
func (s *Service) workspaceJournal(id model.VMID) string {
	return filepath.Join(s.Dirs.VM(id), "workspace.journal")
}

// scratch is the directory for what lives for a moment.
func (s *Service) scratch() (string, error) {
	dir := s.Dirs.Scratch()
	return dir, os.MkdirAll(dir, 0o700)
}

// sweepScratch removes what earlier daemons left.
func (s *Service) sweepScratch() error { return os.RemoveAll(s.Dirs.Scratch()) } // wholly ours

// PlanWorkspace says what of a project would go into a guest, and where to. It changes nothing.
func (s *Service) PlanWorkspace(ctx context.Context, spec model.WorkspaceSpec) (plan *workspace.Plan, guestPath string, err error) {
	scratch, err := s.scratch()
	if err != nil {
		return nil, "", err
	}
	if plan, err = workspace.NewPlan(ctx, scratch, spec.Path, spec.Options); err != nil {
		return nil, "", err
	}
	guestPath = path.Join(defaultHome, plan.Name())
	if spec.At != "" {
		if err := model.ValidateFilePath(spec.At); err != nil {
			return nil, "", err
		}
		if guestPath = path.Clean(spec.At); guestPath == "/" {
			return nil, "", model.Errorf(model.ErrInvalid, "cannot copy a project to /: name a directory of its own, such as /srv/%s", plan.Name())
		}
	}
	return plan, guestPath, nil
}

// PrepareWorkspace copies a project into a running VM that has none. Its result is the View.
func (s *Service) PrepareWorkspace(ctx context.Context, id model.VMID, spec model.WorkspaceSpec) (*operation.Operation, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return nil, err
	}
	if v.State != model.StateRunning {
		return nil, stateError("copy a project into", v)
	}
	if err := hasNone(v); err != nil {
		return nil, err
	}
	plan, guestPath, err := s.PlanWorkspace(ctx, spec)
	if err != nil {
		return nil, err
	}
	return s.Operations.Start(ctx, "workspace-prepare", string(id), "", func(ctx context.Context, op *operation.Operation) error {
		if err := s.copyProject(ctx, id, plan, guestPath, spec, op); err != nil {
			return err
		}
		return s.publish(ctx, id, op)
	})
}

func hasNone(v model.VM) error {
	if v.Workspace.Guest == "" {
		return nil
	}
	return model.Errorf(model.ErrExists, "cannot copy a project into %s: it has one, %s; a VM holds one workspace: make another with: banger vm run %s", v.Name, v.Workspace.Guest, v.Workspace.Host)
}

// copyProject copies what was planned and records it. When it fails there is no workspace; files that reached the guest
// have no name there yet.
func (s *Service) copyProject(ctx context.Context, id model.VMID, plan *workspace.Plan, guestPath string, spec model.WorkspaceSpec, op *operation.Operation) (err error) {
	e := s.entry(id)
	if err := e.acquireProject(ctx); err != nil {
		return err
	}
	defer e.releaseProject()
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return err
	}
	if err := hasNone(v); err != nil {
		return err
	}
	g, err := s.guest(ctx, id)
	if err != nil {
		return err
	}
	if spec.At == "" && !s.homeIsRoots(ctx, v) {
		guestPath = "/" + plan.Name() // nobody else may enter /root
	}
	if err := checkPlace(ctx, g, v, guestPath); err != nil {
		return err
	}
	dir := s.workspaceStore(id)
	if err := os.RemoveAll(dir); err != nil { // of a copy that was cut short
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir)) // ours
		}
	}()
	op.Report(model.Progress{Stage: "copy the project"})
	base, err := s.streamProject(ctx, g, plan, dir, guestPath, op.Report)
	if err != nil {
		return model.Errorf(model.KindOf(err), "cannot copy %s into %s: %w", plan.Path(), v.Name, err)
	}
	for _, line := range plan.Notes() {
		op.Warn(line)
	}
	return s.Store.CreateWorkspace(ctx, model.Workspace{
		VM: id, Host: plan.Path(), Guest: guestPath, Options: spec.Options, Format: base.Format, BaseTree: base.Tree,
		Commit: base.Commit, Branch: base.Branch, Head: base.Head, Fingerprint: base.Fingerprint,
		Files: base.Files, Bytes: base.Bytes, CopiedAt: time.Now(),
	})
}

// homeIsRoots says whether root runs the VM's commands.
func (s *Service) homeIsRoots(ctx context.Context, v model.VM) bool {
	user := v.Spec.User
	if user == "" {
		if image, err := s.Images.Image(ctx, string(v.Image)); err == nil {
			user = image.User
		}
	}
	user, _, _ = strings.Cut(user, ":")
	return user == "" || user == "root" || user == "0"
}

// checkPlace refuses a place that is taken, or lies nowhere.
func checkPlace(ctx context.Context, g *guest.Guest, v model.VM, guestPath string) error {
	parent, err := g.StatFile(ctx, path.Dir(guestPath), true)
	if err != nil {
		return err
	}
	if !parent.Exists || !parent.Mode.IsDir() {
		return model.Errorf(model.ErrNotFound, "cannot copy a project to %s: %s has no directory %s; make it with: banger vm exec %s -- mkdir -p %s", guestPath, v.Name, path.Dir(guestPath), v.Name, path.Dir(guestPath))
	}
	there, err := g.StatFile(ctx, guestPath, false)
	if err != nil {
		return err
	}
	if there.Exists {
		return model.Errorf(model.ErrExists, "cannot copy a project to %s: there is something of that name in %s; choose another place with --at", guestPath, v.Name)
	}
	return nil
}

func (s *Service) streamProject(ctx context.Context, g *guest.Guest, plan *workspace.Plan, dir, guestPath string, report model.Report) (workspace.Base, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pipe, feed := io.Pipe()
	written := make(chan error, 1)
	go func() {
		_, err := g.WriteFiles(ctx, model.FileWrite{Dir: path.Dir(guestPath), Name: path.Base(guestPath)}, pipe)
		_ = pipe.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		written <- err
	}()
	base, err := plan.Copy(ctx, dir, path.Base(guestPath), feed, report)
	_ = feed.CloseWithError(err)
	werr := <-written
	if err != nil && (werr == nil || !errors.Is(err, io.ErrClosedPipe)) {
		return workspace.Base{}, err
	}
	return base, werr
}

func (e *entry) acquireProject(ctx context.Context) error {
	select {
	case e.project <- struct{}{}:
		return nil
	case <-ctx.Done():
		return model.Errorf(model.ErrCanceled, "gave up waiting for other work on the workspace: %w", context.Cause(ctx))
	}
}

func (e *entry) releaseProject() { <-e.project }

// Workspace returns what is recorded of a VM's project, and in a few words how the host's has moved on since, or "".
func (s *Service) Workspace(ctx context.Context, id model.VMID) (model.Workspace, string, error) {
	w, err := s.Store.Workspace(ctx, id)
	if err != nil {
		return w, "", err
	}
	return w, s.project(w).Moved(ctx), nil
}

// project is a recorded workspace as package workspace takes it.
func (s *Service) project(w model.Workspace) workspace.Workspace {
	return workspace.Workspace{
		Dir: s.workspaceStore(w.VM), Scratch: s.Dirs.Scratch(), Host: w.Host, Guest: w.Guest, Options: w.Options,
		Base: workspace.Base{
			Format: w.Format, Tree: w.BaseTree, Commit: w.Commit, Branch: w.Branch, Head: w.Head,
			Fingerprint: w.Fingerprint, Files: w.Files, Bytes: w.Bytes,
		},
	}
}
