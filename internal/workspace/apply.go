package workspace

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"banger/internal/model"
)

// Commit records that the host's files have the tree base now; an undo goes to the tree undo, or nowhere when it is "".
type Commit func(base, undo, fingerprint string) error

// Apply writes what a guest has changed to the host's project: all of it, or none. Every file that it touches must still
// be as it was copied in; those that are not are the error's conflicts. journalPath is where the change is written down
// first. When Apply fails half-way, the next Recover settles it.
func (w Workspace) Apply(ctx context.Context, g Guest, o FetchOptions, journalPath string, commit Commit, report model.Report) (Review, error) {
	f, err := w.fetch(ctx, g, o, report)
	if err != nil {
		return Review{}, err
	}
	r, err := f.review(ctx, id(w.Base.Tree))
	if err == nil && len(r.Refused) > 0 && !o.SkipRefused {
		err = Refusal(r.Refused)
	}
	if err == nil && o.Tree != "" && o.Tree != r.Tree {
		err = model.Errorf(model.ErrState, "cannot apply: the guest's files have changed since the review; look at them again")
	}
	if err == nil && len(r.Changes) > 0 {
		if err = w.keep(ctx, f); err == nil {
			report(model.Progress{Stage: "write the changes"})
			err = w.move(ctx, goal{f.base, f.now, f.tree, true}, journalPath, commit)
		}
	}
	return r, errors.Join(err, f.close())
}

// Undo takes the last Apply back, where every file is still as that left it.
func (w Workspace) Undo(ctx context.Context, to, journalPath string, commit Commit) ([]Change, error) {
	s, err := w.open()
	if err != nil {
		return nil, err
	}
	base, err := listTree(ctx, s.git, id(w.Base.Tree))
	if err != nil {
		return nil, err
	}
	before, err := listTree(ctx, s.git, id(to))
	if err != nil {
		return nil, err
	}
	f := &fetched{store: s, base: base, now: before, tree: id(to)}
	changes, err := f.changes(ctx, id(w.Base.Tree))
	if err != nil {
		return nil, err
	}
	return changes, w.move(ctx, goal{base, before, id(to), false}, journalPath, commit)
}

// Refusal is the error for files that are refused.
func Refusal(refused []Problem) error {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot take what the guest changed: %s dangerous to have on a host:", someFiles(len(refused)))
	for i, p := range refused {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(refused)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %q: %s", shorten(p.Path), shorten(p.Why))
	}
	b.WriteString("\nremove them in the VM, or take the rest with --skip-refused")
	return model.Errorf(model.ErrInvalid, "%s", b.String())
}

// someFiles begins a sentence about n files of something.
func someFiles(n int) string {
	if n == 1 {
		return "1 of its files is"
	}
	return fmt.Sprintf("%d of its files are", n)
}

func were(n int) string {
	if n == 1 {
		return "it was"
	}
	return "they were"
}

// keep copies the new contents from the fetched store to the workspace's own.
func (w Workspace) keep(ctx context.Context, f *fetched) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	var blobs []string
	known := map[id]bool{}
	for _, l := range f.base {
		known[l.id] = true
	}
	for _, l := range f.now {
		if !known[l.id] {
			known[l.id] = true
			blobs = append(blobs, string(l.id))
		}
	}
	r := &guestRepository{plan: &Plan{project: &project{git: f.store.git}}, git: s.git}
	if err := r.pack(ctx, blobs); err != nil {
		return err
	}
	_, err = s.writeTree(ctx, f.now)
	return err
}

// Conflict is a file of the host that is not as a change needs it.
type Conflict struct {
	Path string
	Why  string
}

// ConflictError says which files stand against a change. Nothing was written.
type ConflictError struct{ Conflicts []Conflict }

func (e *ConflictError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cannot change the project: %s not as %s; nothing was written:", someFiles(len(e.Conflicts)), were(len(e.Conflicts)))
	for _, c := range e.Conflicts[:min(len(e.Conflicts), 50)] {
		fmt.Fprintf(&b, "\n  %q %s", shorten(c.Path), c.Why)
	}
	if n := len(e.Conflicts) - 50; n > 0 {
		fmt.Fprintf(&b, "\n  and %d more", n)
	}
	b.WriteString("\nput them back, or take a patch with: banger vm workspace export --output FILE")
	return b.String()
}

// Unwrap gives errors.Is the kind.
func (e *ConflictError) Unwrap() error { return model.ErrState }
