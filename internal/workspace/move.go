package workspace

import (
	"context"
	"errors"
	"path"
	"sort"
	"strings"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// change is one move of the host's files from a tree to another.
type change struct {
	journal
	path  string // of the journal
	host  hostFiles
	store store
	blobs *batch
}

// goal is where a move leads.
type goal struct {
	from, to tree
	id       id   // of to
	undoable bool // it can be undone later
}

// move brings the host's files from one tree to another.
func (w Workspace) move(ctx context.Context, to goal, journalPath string, commit Commit) error {
	c, err := w.newChange(ctx, journalPath)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.plan(to.from, to.to); err != nil {
		return err
	}
	c.Host, c.From, c.To = w.Host, id(w.Base.Tree), to.id
	if to.undoable && len(c.Entries) > 0 {
		back := tree{}
		for name, l := range to.to {
			back[name] = l
		}
		for _, e := range c.Entries {
			delete(back, string(e.Path))
			if l, was := to.from[string(e.Path)]; was {
				back[string(e.Path)] = l
			}
		}
		if c.Undo, err = c.store.writeTree(ctx, back); err != nil {
			return err
		}
	}
	if err := c.stage(); err != nil {
		return err
	}
	// From here on the change ends one way or the other, whoever has lost interest in it.
	ctx = context.WithoutCancel(ctx)
	if err := c.forward(); err != nil {
		return errors.Join(err, c.back())
	}
	return c.finish(ctx, w, commit)
}

func (w Workspace) newChange(ctx context.Context, journalPath string) (*change, error) {
	s, err := w.open()
	if err != nil {
		return nil, err
	}
	root, err := rootedfs.Open(w.Host)
	if err != nil {
		return nil, model.Errorf(model.ErrNotFound, "cannot change the project %s: %w", w.Host, err)
	}
	b, err := s.newBatch(context.WithoutCancel(ctx))
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &change{path: journalPath, host: hostFiles{root: root, format: s.format}, store: s, blobs: b}, nil
}

func (c *change) close() {
	c.blobs.close()
	c.host.root.Close()
}

// plan lists what is to be done, or the conflicts.
func (c *change) plan(from, to tree) error {
	names := map[string]bool{}
	for name, l := range from {
		if to[name].side() != l.side() {
			names[name] = true
		}
	}
	for name, l := range to {
		if from[name].side() != l.side() {
			names[name] = true
		}
	}
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	sort.Strings(order)
	leaving := map[string]bool{}
	for _, name := range order {
		if to[name].side().absent() {
			leaving[name] = true
		}
	}
	var conflicts []Conflict
	for _, name := range order {
		before, after := from[name].side(), to[name].side()
		now, err := c.host.look(name)
		if err != nil {
			return err
		}
		switch why, err := c.conflict(name, now, before, after, leaving); {
		case err != nil:
			return err
		case why != "":
			conflicts = append(conflicts, Conflict{name, why})
		case now.other == "" && now.same(after): // somebody did the same
		default:
			before.Perm = now.Perm
			if !after.absent() && after.Mode != ModeLink {
				after.Perm = c.host.perm(name, after.Mode, before)
			}
			c.Entries = append(c.Entries, entry{Path: []byte(name), Old: before, New: after})
		}
	}
	if len(conflicts) > 0 {
		return &ConflictError{conflicts}
	}
	return nil
}

// conflict says why a file cannot be changed, or "".
func (c *change) conflict(name string, now found, before, after side, leaving map[string]bool) (string, error) {
	if now.other == "" && (now.same(before) || now.same(after)) {
		return "", nil
	}
	if now.other == isDir && before.absent() {
		only, err := c.host.onlyThese(name, leaving)
		if err != nil || only {
			return "", err
		}
		return "is a directory on the host, with files that are not part of the project", nil
	}
	if now.other != "" {
		for dir := path.Dir(name); before.absent() && dir != "."; dir = path.Dir(dir) {
			if leaving[dir] {
				return "", nil // what is in the way goes first
			}
		}
		return "cannot be written: " + strings.Replace(now.other, "it ", "on the host it ", 1), nil
	}
	switch {
	case now.absent():
		return "is gone on the host", nil
	case before.absent():
		return "is new in the guest, and the host has one of its own", nil
	}
	return "has changed on the host since it was copied in", nil
}
