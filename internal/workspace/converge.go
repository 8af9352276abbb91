package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"sort"
	"syscall"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

// stage writes every new content aside, so that what can fail for want of space or rights fails before a file is touched.
func (c *change) stage() error {
	for i := range c.Entries {
		if e := &c.Entries[i]; !e.New.absent() {
			e.Temp = []byte(path.Join(c.host.nearest(string(e.Path)), rootedfs.TempName()))
		}
	}
	c.Phase, c.host.bulk = phaseStage, len(c.Entries) >= bulkFiles
	crash.At("workspace.stage.before")
	if err := c.write(c.path); err != nil {
		return err
	}
	crash.At("workspace.stage.after")
	for _, e := range c.Entries {
		if len(e.Temp) == 0 {
			continue
		}
		if err := c.put(string(e.Temp), e.New); err != nil {
			err = c.unwritten(string(e.Temp), err)
			err = model.Errorf(model.KindOf(err), "%w; nothing was written: make room or a way there, or take a patch with: banger vm workspace export --output FILE", err)
			return errors.Join(err, c.discard())
		}
		crash.At("workspace.staged")
	}
	return c.host.syncBulk()
}

// unwritten is an error about a file beside its place, without the name that it has for a moment.
func (c *change) unwritten(temp string, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	return model.HostErrorf(errno, "cannot write in %q", filepath.Join(c.Host, path.Dir(temp)))
}

// put writes a content under a name that is not in use.
func (c *change) put(name string, s side) error {
	if s.Mode == ModeLink {
		target, err := c.blobs.bytes(s.ID)
		if err != nil {
			return err
		}
		return c.host.root.Symlink(string(target), name)
	}
	content, _, err := c.blobs.open(s.ID)
	if err != nil {
		return err
	}
	f, err := c.host.root.CreateExcl(name, s.Perm)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, content); err == nil && !c.host.bulk {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// forward does it.
func (c *change) forward() error {
	c.Phase = phaseForward
	if err := c.write(c.path); err != nil {
		return err
	}
	crash.At("workspace.forward.after")
	strays, err := c.converge(func(e entry) (goal, other side) { return e.New, e.Old })
	if err == nil && len(strays) > 0 {
		err = &ConflictError{strays}
	}
	return err
}

// back takes back what forward has done.
func (c *change) back() error {
	c.Phase = phaseBack
	if err := c.write(c.path); err != nil {
		return err
	}
	crash.At("workspace.back.after")
	strays, err := c.converge(func(e entry) (goal, other side) { return e.Old, e.New })
	if err != nil {
		return fmt.Errorf("cannot put everything back, which is tried again when the daemon starts: %w", err)
	}
	if len(strays) > 0 {
		err = &ConflictError{strays}
	}
	return errors.Join(err, c.discard())
}

// converge brings every entry to its goal. One that is neither there nor at its other side was changed by somebody
// else, and is left to them.
func (c *change) converge(of func(entry) (goal, other side)) ([]Conflict, error) {
	var strays []Conflict
	for _, writing := range []bool{false, true} { // what goes makes room for what comes
		for _, e := range c.Entries {
			goal, other := of(e)
			if goal.absent() == writing {
				continue
			}
			stray, err := c.reach(e, goal, other)
			if err != nil {
				return strays, err
			}
			if stray != "" {
				strays = append(strays, Conflict{string(e.Path), stray})
			}
			crash.At("workspace.converge")
		}
	}
	return strays, c.host.syncBulk()
}

func (c *change) reach(e entry, goal, other side) (stray string, err error) {
	name := string(e.Path)
	now, err := c.host.look(name)
	switch {
	case err != nil:
		return "", err
	case now.other == "" && now.same(goal), goal.absent() && now.none:
		return "", nil
	case now.other != "" || !now.same(other):
		return "was changed by somebody else meanwhile, and is left as it is", nil
	case goal.absent():
		return "", c.host.remove(name)
	}
	if err := c.host.makeParents(name); err != nil {
		return "", err
	}
	if len(e.Temp) > 0 && goal == e.New {
		err := c.host.root.Rename(string(e.Temp), name)
		if err == nil {
			return "", c.host.syncDir(name)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	// A daemon before us has used or removed what was written aside.
	temp := path.Join(path.Dir(name), rootedfs.TempName())
	c.Temps = append(c.Temps, []byte(temp))
	if err := c.write(c.path); err != nil {
		return "", err
	}
	if goal.Mode != ModeLink && goal.Perm == 0 {
		goal.Perm = c.host.perm(name, goal.Mode, side{})
	}
	if err := c.put(temp, goal); err != nil {
		return "", errors.Join(c.unwritten(temp, err), c.host.root.Remove(temp))
	}
	if err := c.host.root.Rename(temp, name); err != nil {
		return "", errors.Join(err, c.host.root.Remove(temp))
	}
	return "", c.host.syncDir(name)
}

// finish records the new state and forgets the journal.
func (c *change) finish(ctx context.Context, w Workspace, commit Commit) error {
	seen := ""
	if w.Base.Fingerprint != "" {
		if err := w.relist(ctx, c.To); err != nil {
			return err
		}
		var err error
		if seen, err = w.fingerprint(ctx); err != nil {
			return err
		}
	}
	crash.At("workspace.record.before")
	if err := commit(string(c.To), string(c.Undo), seen); err != nil {
		return err
	}
	crash.At("workspace.record.after")
	return c.discard()
}

// discard removes what was written aside, and the journal.
func (c *change) discard() error {
	var errs []error
	for _, e := range c.Entries {
		if len(e.Temp) > 0 {
			errs = append(errs, c.host.root.Remove(string(e.Temp)))
		}
	}
	for _, t := range c.Temps {
		errs = append(errs, c.host.root.Remove(string(t)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	crash.At("workspace.discard.after")
	return removeDurably(c.path)
}

// relist makes the list of files, which the fingerprint is of, that of a tree.
func (w Workspace) relist(ctx context.Context, of id) error {
	s, err := w.open()
	if err != nil {
		return err
	}
	t, err := listTree(ctx, s.git, of)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	sort.Strings(names)
	var list bytes.Buffer
	for _, name := range names {
		list.WriteString(name + "\x00")
	}
	return writeDurably(w.Dir, filesList, list.Bytes())
}
