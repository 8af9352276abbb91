package workspace

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"banger/internal/atomicfile"
)

func writeDurably(dir, name string, text []byte) error {
	return atomicfile.Write(filepath.Join(dir, name), text, 0o600)
}

// removeOwn removes a directory of ours in the scratch directory. What cannot be removed is swept with that.
func removeOwn(dir string) { _ = os.RemoveAll(dir) }

func removeDurably(path string) error {
	return errors.Join(atomicfile.Remove(path), atomicfile.SyncDir(filepath.Dir(path)))
}

// Recover settles a change that its daemon did not live to end: one that had touched no file is forgotten, any other is
// finished, or taken back when that had begun. That there is none is success.
func (w Workspace) Recover(ctx context.Context, journalPath string, commit Commit) error {
	j, err := readJournal(journalPath)
	if j == nil || err != nil {
		return err
	}
	w.Host = j.Host
	c, err := w.newChange(ctx, journalPath)
	if err != nil {
		return err
	}
	defer c.close()
	c.journal, c.host.bulk = *j, len(j.Entries) >= bulkFiles
	switch j.Phase {
	case phaseForward:
		if err := c.forward(); err != nil {
			return errors.Join(err, c.back())
		}
		return c.finish(ctx, w, commit)
	case phaseBack:
		return c.back()
	}
	return c.discard()
}
