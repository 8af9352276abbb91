package server

import (
	"context"
	"io"
	"strings"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/workspace"
)

// Workspaces are the projects in VMs, as *vm.Service has them.
type Workspaces interface {
	PlanWorkspace(ctx context.Context, spec model.WorkspaceSpec) (plan *workspace.Plan, guestPath string, err error)
	PrepareWorkspace(ctx context.Context, id model.VMID, spec model.WorkspaceSpec) (*operation.Operation, error)
	Workspace(ctx context.Context, id model.VMID) (w model.Workspace, moved string, err error)
	DiffWorkspace(ctx context.Context, id model.VMID, o workspace.FetchOptions, review func(workspace.Review) error, out io.Writer) error
	MarkExported(ctx context.Context, id model.VMID, tree string) error
	ApplyWorkspace(ctx context.Context, id model.VMID, o workspace.FetchOptions) (workspace.Review, error)
	UndoWorkspace(ctx context.Context, id model.VMID) ([]workspace.Change, error)
	Unexported(ctx context.Context, id model.VMID) (string, error)
}

type workspaceService struct{ workspaces Workspaces }

func workspaceSpec(s *bangerv1.WorkspaceSpec) model.WorkspaceSpec {
	o := s.GetOptions()
	return model.WorkspaceSpec{Path: s.GetPath(), At: s.GetAt(), Options: model.WorkspaceOptions{
		IncludeUntracked: o.GetIncludeUntracked(), IncludeSecrets: o.GetIncludeSecrets(), Branch: o.GetBranch(),
		From: o.GetFrom(), History: int(o.GetHistory()),
	}}
}

func (s *workspaceService) Plan(ctx context.Context, r *bangerv1.PlanRequest) (*bangerv1.PlanResponse, error) {
	plan, at, err := s.workspaces.PlanWorkspace(ctx, workspaceSpec(r.GetSpec()))
	if err != nil {
		return nil, err
	}
	res := &bangerv1.PlanResponse{Bytes: plan.Bytes, GuestPath: at, Head: plan.Head, Base: plan.Base}
	for _, f := range plan.Files {
		res.Files = append(res.Files, &bangerv1.PlannedFile{Path: []byte(f.Path), Mode: uint32(f.Mode), Size: f.Size, Target: []byte(f.Target)})
	}
	for _, l := range plan.Left {
		res.Left = append(res.Left, &bangerv1.LeftOutFile{Path: []byte(l.Path), Reason: string(l.Reason)})
	}
	return res, nil
}

func (s *workspaceService) Prepare(ctx context.Context, r *bangerv1.PrepareRequest, stream bangerv1connect.WorkspaceServicePrepareServerStream) error {
	op, err := s.workspaces.PrepareWorkspace(ctx, model.VMID(r.GetVmId()), workspaceSpec(r.GetSpec()))
	return relayStarted(ctx, op, err, stream.Send)
}

func (s *workspaceService) Show(ctx context.Context, r *bangerv1.ShowRequest) (*bangerv1.ShowResponse, error) {
	w, moved, err := s.workspaces.Workspace(ctx, model.VMID(r.GetVmId()))
	if err != nil {
		return nil, err
	}
	o := w.Options
	return &bangerv1.ShowResponse{Workspace: &bangerv1.Workspace{
		VmId: string(w.VM), HostPath: w.Host, GuestPath: w.Guest, Commit: w.Commit, Branch: w.Branch, Head: w.Head,
		Options: &bangerv1.WorkspaceOptions{
			IncludeUntracked: o.IncludeUntracked, IncludeSecrets: o.IncludeSecrets, Branch: o.Branch, From: o.From, History: int32(o.History),
		},
		Files: int64(w.Files), Bytes: w.Bytes, CopiedAt: timeMessage(w.CopiedAt), ExportedAt: timeMessage(w.ExportedAt),
		AppliedAt: timeMessage(w.AppliedAt), CanUndo: w.UndoTree != "", Moved: moved,
	}}, nil
}

func (s *workspaceService) Diff(ctx context.Context, r *bangerv1.DiffRequest, stream bangerv1connect.WorkspaceServiceDiffServerStream) error {
	o := workspace.FetchOptions{IncludeIgnored: r.GetIncludeIgnored(), SkipRefused: r.GetSkipRefused(), BaseCommit: r.GetBaseCommit()}
	var out io.Writer = patchSender{stream}
	if r.GetReviewOnly() {
		out = nil
	}
	return s.workspaces.DiffWorkspace(ctx, model.VMID(r.GetVmId()), o, func(review workspace.Review) error {
		if len(review.Refused) > 0 && !o.SkipRefused && !r.GetReviewOnly() {
			return workspace.Refusal(review.Refused)
		}
		return stream.Send(&bangerv1.DiffResponse{Response: &bangerv1.DiffResponse_Review{Review: reviewMessage(review)}})
	}, out)
}

// patchSender sends what is written to it in pieces that any client takes.
type patchSender struct {
	stream bangerv1connect.WorkspaceServiceDiffServerStream
}

func (w patchSender) Write(p []byte) (int, error) {
	const most = 64 << 10
	for sent := 0; sent < len(p); {
		n := min(most, len(p)-sent)
		if err := w.stream.Send(&bangerv1.DiffResponse{Response: &bangerv1.DiffResponse_Patch{Patch: p[sent : sent+n]}}); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}

func reviewMessage(r workspace.Review) *bangerv1.Review {
	return &bangerv1.Review{
		Changes: changeMessages(r.Changes), Refused: problemMessages(r.Refused), Left: problemMessages(r.Left),
		Ignored: int64(r.Ignored), Tree: r.Tree, BaseCommit: r.Base,
	}
}

func changeMessages(changes []workspace.Change) []*bangerv1.ChangedFile {
	all := make([]*bangerv1.ChangedFile, 0, len(changes))
	for _, c := range changes {
		all = append(all, &bangerv1.ChangedFile{
			Path: []byte(c.Path), OldPath: []byte(c.OldPath), Status: string(c.Status), OldMode: uint32(c.OldMode),
			NewMode: uint32(c.NewMode), Size: c.Size, Target: []byte(c.Target), Runs: c.Runs, Binary: c.Binary,
			Added: int64(c.Added), Deleted: int64(c.Deleted),
		})
	}
	return all
}

func problemMessages(problems []workspace.Problem) []*bangerv1.FileProblem {
	all := make([]*bangerv1.FileProblem, 0, len(problems))
	for _, p := range problems {
		all = append(all, &bangerv1.FileProblem{Path: []byte(p.Path), Why: strings.ToValidUTF8(p.Why, "?")})
	}
	return all
}

func (s *workspaceService) MarkExported(ctx context.Context, r *bangerv1.MarkExportedRequest) (*bangerv1.MarkExportedResponse, error) {
	if err := s.workspaces.MarkExported(ctx, model.VMID(r.GetVmId()), r.GetTree()); err != nil {
		return nil, err
	}
	return &bangerv1.MarkExportedResponse{}, nil
}

func (s *workspaceService) Apply(ctx context.Context, r *bangerv1.ApplyRequest) (*bangerv1.ApplyResponse, error) {
	o := workspace.FetchOptions{IncludeIgnored: r.GetIncludeIgnored(), SkipRefused: r.GetSkipRefused(), Tree: r.GetTree()}
	review, err := s.workspaces.ApplyWorkspace(ctx, model.VMID(r.GetVmId()), o)
	if err != nil {
		return nil, err
	}
	return &bangerv1.ApplyResponse{Review: reviewMessage(review)}, nil
}

func (s *workspaceService) Undo(ctx context.Context, r *bangerv1.UndoRequest) (*bangerv1.UndoResponse, error) {
	changes, err := s.workspaces.UndoWorkspace(ctx, model.VMID(r.GetVmId()))
	if err != nil {
		return nil, err
	}
	return &bangerv1.UndoResponse{Changes: changeMessages(changes)}, nil
}

func (s *workspaceService) Unexported(ctx context.Context, r *bangerv1.UnexportedRequest) (*bangerv1.UnexportedResponse, error) {
	what, err := s.workspaces.Unexported(ctx, model.VMID(r.GetVmId()))
	if err != nil {
		return nil, err
	}
	return &bangerv1.UnexportedResponse{What: what}, nil
}
