package workspace

import (
	"context"
	"io"

	"banger/internal/model"
)

// Status is what happened to a file.
type Status string

// The statuses.
const (
	StatusAdded    Status = "added"
	StatusModified Status = "modified"
	StatusDeleted  Status = "deleted"
	StatusRenamed  Status = "renamed"
	StatusRetyped  Status = "retyped" // a file has become a link, or a link a file
)

// Change is one changed file, for a reader's eyes.
type Change struct {
	Path    string
	OldPath string // of a rename
	Status  Status
	OldMode Mode // 0 when there was none
	NewMode Mode // 0 when there is none
	Size    int64
	Target  string // of a new link
	Runs    string // who runs it, or takes orders from it, without being asked; or ""
	Binary  bool
	Added   int // lines
	Deleted int // lines
}

// Review is what a guest has changed, and what of it is not in the patch.
type Review struct {
	Changes []Change
	Refused []Problem // dangerous to write: not in the patch
	Left    []Problem // nothing that a patch can hold
	Ignored int       // new files that the ignore rules name
	Tree    string    // names the guest's state; what was exported is recorded by it. "" when the patch lacks changes of Left
	Base    string    // the commit that the patch is relative to, when one was asked for
}

// review lists what differs from a tree.
func (f *fetched) review(ctx context.Context, from id) (Review, error) {
	changes, err := f.changes(ctx, from)
	return Review{Changes: changes, Refused: f.Refused, Left: f.Left, Ignored: f.Ignored, Tree: string(f.tree)}, err
}

// patch writes the difference as a patch that git apply takes.
func (f *fetched) patch(ctx context.Context, from id, w io.Writer) error {
	ctx, cancel := limitDiff(ctx)
	defer cancel()
	return f.store.run(ctx, nil, w, diffArgs("-p", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/", string(from), string(f.tree))...)
}

// Diff compares the guest's files with what was copied in. review is called first, with what there is to know, and then
// the patch is written, unless w is nil.
func (w Workspace) Diff(ctx context.Context, g Guest, o FetchOptions, report model.Report, review func(Review) error, out io.Writer) (err error) {
	f, err := w.fetch(ctx, g, o, report)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.close(); err == nil {
			err = cerr
		}
	}()
	from, base, state := id(w.Base.Tree), "", f.tree
	if o.BaseCommit != "" {
		if from, base, err = w.otherBase(ctx, f, o.BaseCommit); err != nil {
			return err
		}
	}
	r, err := f.review(ctx, from)
	if err != nil {
		return err
	}
	if r.Base, r.Tree = base, string(state); f.partial {
		r.Tree = ""
	}
	if err := review(r); err != nil || out == nil {
		return err
	}
	return f.patch(ctx, from, out)
}

// Changed says whether a guest has anything that is neither what was copied in nor what the tree exported names.
func (w Workspace) Changed(ctx context.Context, g Guest, exported string) (bool, error) {
	for _, ignored := range []bool{false, true} { // the state was perhaps exported with what is ignored
		f, err := w.fetch(ctx, g, FetchOptions{IncludeIgnored: ignored}, model.Discard)
		if err != nil {
			return false, err
		}
		if err := f.close(); err != nil {
			return false, err
		}
		if len(f.Refused) > 0 { // what is refused never gets out
			break
		}
		if string(f.tree) == exported || !ignored && string(f.tree) == w.Base.Tree {
			return false, nil
		}
		if exported == "" {
			break
		}
	}
	return true, nil
}

// Clean says whether the guest has changed nothing that counts.
func (r Review) Clean() bool { return len(r.Changes) == 0 && len(r.Refused) == 0 }
