package client

import (
	"context"
	"errors"
	"io"
	"time"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/model"
)

// WorkspaceOptions say what of a project goes into a VM, and as what.
type WorkspaceOptions = model.WorkspaceOptions

// WorkspaceSpec is a project to copy into a VM.
type WorkspaceSpec struct {
	Path    string // absolute, of the host
	At      string // absolute, of the guest; "" for the project's name in /root
	Options WorkspaceOptions
}

func (s *WorkspaceSpec) message() *bangerv1.WorkspaceSpec {
	if s == nil {
		return nil
	}
	o := s.Options
	return &bangerv1.WorkspaceSpec{Path: s.Path, At: s.At, Options: &bangerv1.WorkspaceOptions{
		IncludeUntracked: o.IncludeUntracked, IncludeSecrets: o.IncludeSecrets, Branch: o.Branch, From: o.From, History: int32(o.History),
	}}
}

// Plan is what would go into a VM. Names of files are bytes; in JSON those that are no UTF-8 are mended.
type Plan struct {
	Guest string        `json:"guest"` // where to
	Head  string        `json:"head"`  // the host's commit, or ""
	Base  string        `json:"base"`  // the commit that the guest's git is at, or ""
	Bytes int64         `json:"bytes"`
	Files []PlannedFile `json:"files"`
	Left  []LeftOutFile `json:"left_out"`
}

// PlannedFile is a file that would go in.
type PlannedFile struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"` // git's: 100644, 100755, 120000
	Size   int64  `json:"size"`
	Target string `json:"target"` // of a link
}

// LeftOutFile is a file that would not.
type LeftOutFile struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// PlanWorkspace says what of a project would go into a VM. It changes nothing.
func (c *Client) PlanWorkspace(ctx context.Context, s WorkspaceSpec) (Plan, error) {
	res, err := c.workspaces.Plan(ctx, &bangerv1.PlanRequest{Spec: s.message()})
	if err != nil {
		return Plan{}, plain(ctx, err)
	}
	p := Plan{
		Guest: res.GetGuestPath(), Head: res.GetHead(), Base: res.GetBase(), Bytes: res.GetBytes(),
		Files: make([]PlannedFile, 0, len(res.GetFiles())), Left: make([]LeftOutFile, 0, len(res.GetLeft())),
	}
	for _, f := range res.GetFiles() {
		p.Files = append(p.Files, PlannedFile{Path: string(f.GetPath()), Mode: gitMode(f.GetMode()), Size: f.GetSize(), Target: string(f.GetTarget())})
	}
	for _, l := range res.GetLeft() {
		p.Left = append(p.Left, LeftOutFile{Path: string(l.GetPath()), Reason: l.GetReason()})
	}
	return p, nil
}

// PrepareWorkspace copies a project into a running VM that has none.
func (c *Client) PrepareWorkspace(ctx context.Context, vm string, s WorkspaceSpec) (*Operation, error) {
	stream, err := c.workspaces.Prepare(ctx, &bangerv1.PrepareRequest{VmId: vm, Spec: s.message()})
	return begin(ctx, c, stream, err)
}

// Workspace is a project in a VM.
type Workspace struct {
	Host       string           `json:"host"`
	Guest      string           `json:"guest"`
	Commit     string           `json:"commit"` // that the guest's git was at, or ""
	Branch     string           `json:"branch"` // likewise
	Head       string           `json:"head"`   // the host's commit at the copy, or ""
	Options    WorkspaceOptions `json:"options"`
	Files      int64            `json:"files"`
	Bytes      int64            `json:"bytes"`
	CopiedAt   time.Time        `json:"copied_at"`
	ExportedAt *time.Time       `json:"exported_at"`
	AppliedAt  *time.Time       `json:"applied_at"`
	CanUndo    bool             `json:"can_undo"`
	Moved      string           `json:"moved"` // how the host's project differs from when it was copied, or ""
}

// ShowWorkspace returns what is recorded of a VM's workspace.
func (c *Client) ShowWorkspace(ctx context.Context, vm string) (Workspace, error) {
	res, err := c.workspaces.Show(ctx, &bangerv1.ShowRequest{VmId: vm})
	if err != nil {
		return Workspace{}, plain(ctx, err)
	}
	m, o := res.GetWorkspace(), res.GetWorkspace().GetOptions()
	return Workspace{
		Host: m.GetHostPath(), Guest: m.GetGuestPath(), Commit: m.GetCommit(), Branch: m.GetBranch(), Head: m.GetHead(),
		Options: WorkspaceOptions{
			IncludeUntracked: o.GetIncludeUntracked(), IncludeSecrets: o.GetIncludeSecrets(), Branch: o.GetBranch(), From: o.GetFrom(), History: int(o.GetHistory()),
		},
		Files: m.GetFiles(), Bytes: m.GetBytes(), CopiedAt: instant(m.GetCopiedAt()), ExportedAt: maybe(m.GetExportedAt()),
		AppliedAt: maybe(m.GetAppliedAt()), CanUndo: m.GetCanUndo(), Moved: m.GetMoved(),
	}, nil
}

// DiffRequest says how a guest's files are compared with what was copied in.
type DiffRequest struct {
	VM             string // its id
	IncludeIgnored bool
	SkipRefused    bool
	BaseCommit     string // revision of the host's that the patch shall be relative to
	ReviewOnly     bool
}

// DiffWorkspace calls review with what the guest has changed, then writes the patch to w.
func (c *Client) DiffWorkspace(ctx context.Context, r DiffRequest, review func(Review) error, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.workspaces.Diff(ctx, &bangerv1.DiffRequest{
		VmId: r.VM, IncludeIgnored: r.IncludeIgnored, SkipRefused: r.SkipRefused, BaseCommit: r.BaseCommit, ReviewOnly: r.ReviewOnly,
	})
	if err != nil {
		return plain(ctx, err)
	}
	defer stream.Close()
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return plain(ctx, err)
		}
		if m.GetReview() != nil {
			err = review(reviewValue(m.GetReview()))
		} else {
			_, err = w.Write(m.GetPatch())
		}
		if err != nil {
			return err
		}
	}
}

// MarkExported records that the state which a review's Tree names is safe with the user: deleting the VM loses nothing.
func (c *Client) MarkExported(ctx context.Context, vm, tree string) error {
	_, err := c.workspaces.MarkExported(ctx, &bangerv1.MarkExportedRequest{VmId: vm, Tree: tree})
	return plain(ctx, err)
}

// ApplyRequest asks for what a guest has changed in the host's project.
type ApplyRequest struct {
	VM             string // its id
	IncludeIgnored bool
	SkipRefused    bool
	Tree           string // of the review: another state is refused; "" for any
}

// ApplyWorkspace writes what the guest has changed to the host's project, all or nothing.
func (c *Client) ApplyWorkspace(ctx context.Context, r ApplyRequest) (Review, error) {
	res, err := c.workspaces.Apply(ctx, &bangerv1.ApplyRequest{VmId: r.VM, IncludeIgnored: r.IncludeIgnored, SkipRefused: r.SkipRefused, Tree: r.Tree})
	if err != nil {
		return Review{}, plain(ctx, err)
	}
	return reviewValue(res.GetReview()), nil
}

// UndoWorkspace takes the last ApplyWorkspace back.
func (c *Client) UndoWorkspace(ctx context.Context, vm string) ([]ChangedFile, error) {
	res, err := c.workspaces.Undo(ctx, &bangerv1.UndoRequest{VmId: vm})
	if err != nil {
		return nil, plain(ctx, err)
	}
	return changeValues(res.GetChanges()), nil
}

// Unexported says in a few words what of a VM's workspace its deletion would lose, "" for nothing.
func (c *Client) Unexported(ctx context.Context, vm string) (string, error) {
	res, err := c.workspaces.Unexported(ctx, &bangerv1.UnexportedRequest{VmId: vm})
	return res.GetWhat(), plain(ctx, err)
}
