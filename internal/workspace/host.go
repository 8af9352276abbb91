package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// hostFiles is the user's project, as a change sees it.
type hostFiles struct {
	root   *rootedfs.Root
	format format
	bulk   bool // there is so much to write that it is synced as a whole
}

// bulkFiles is from how many files on one sync of the whole file system is cheaper than one of each.
const bulkFiles = 100

// syncDir makes a name durable, now or with all the others.
func (h hostFiles) syncDir(name string) error {
	if h.bulk {
		return nil
	}
	return h.root.SyncDir(name)
}

// syncBulk makes all of it durable.
func (h hostFiles) syncBulk() error {
	if !h.bulk {
		return nil
	}
	return h.root.Sync()
}

// found is what lies on the host under a path.
type found struct {
	side
	other string // what it is when it is neither file nor link
	none  bool   // with other: there is no file or link of that path, so it need not be removed
}

const isDir = "it is a directory"

// look says what lies there now, by its content.
func (h hostFiles) look(name string) (found, error) {
	info, err := h.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found{}, nil
	case errors.Is(err, model.ErrInvalid):
		return found{other: "it lies below a link or a file", none: true}, nil
	case err != nil:
		return found{}, err
	case info.Mode.IsDir():
		return found{other: isDir, none: true}, nil
	case info.Mode&fs.ModeSymlink != 0:
		target, err := h.root.Readlink(name)
		return found{side: side{Mode: ModeLink, ID: h.format.blobOf([]byte(target))}}, err
	case !info.Mode.IsRegular():
		return found{other: "it is no regular file"}, nil
	}
	f, err := h.root.Open(name)
	if err != nil {
		return found{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return found{}, err
	}
	sum1 := h.format.blob(st.Size())
	if _, err := io.Copy(sum1, f); err != nil {
		return found{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	s := side{Mode: ModeFile, ID: sum(sum1), Perm: st.Mode().Perm()}
	if s.Perm&0o100 != 0 {
		s.Mode = ModeExec
	}
	return found{side: s}, nil
}

// perm is the mode of a new file: what was there keeps its own but for the right to execute, a new one has what its
// directory grants.
func (h hostFiles) perm(name string, m Mode, before side) fs.FileMode {
	p := before.Perm
	if p == 0 {
		p = 0o644
		if dir := h.dirPerm(path.Dir(name)); dir != 0 {
			p = dir & 0o666
		}
	}
	if m == ModeExec {
		return p | p&0o444>>2
	}
	return p &^ 0o111
}

// dirPerm is the mode of the nearest directory that is there.
func (h hostFiles) dirPerm(dir string) fs.FileMode {
	for {
		info, err := h.root.Lstat(dir)
		if err == nil && info.Mode.IsDir() {
			return info.Mode.Perm()
		}
		if dir == "." {
			return 0
		}
		dir = path.Dir(dir)
	}
}

// nearest is the nearest directory of a path that is there, "." at last.
func (h hostFiles) nearest(name string) string {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := h.root.Lstat(dir); err == nil && info.Mode.IsDir() {
			return dir
		}
	}
	return "."
}

// makeParents makes the directories of a path, with the mode of the nearest one.
func (h hostFiles) makeParents(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	perm := h.dirPerm(dir)
	at := ""
	for part := range strings.SplitSeq(dir, "/") {
		at = path.Join(at, part)
		if info, err := h.root.Lstat(at); err == nil && info.Mode.IsDir() {
			continue
		}
		if err := h.root.MkdirAll(at, perm); err != nil {
			return err
		}
		if err := h.root.ChmodDir(at, perm); err != nil {
			return err
		}
		if err := h.syncDir(at); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file, and the directories that are empty without it.
func (h hostFiles) remove(name string) error {
	if err := h.root.Remove(name); err != nil {
		return err
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if dir == "." {
			return h.syncDir(name[:strings.IndexByte(name+"/", '/')])
		}
		if err := h.syncDir(path.Join(dir, "x")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		entries, err := h.root.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(entries) > 0 {
			return nil
		}
		if err := h.root.Remove(dir); err != nil {
			return err
		}
	}
}

// onlyThese says whether everything below a directory is in names.
func (h hostFiles) onlyThese(dir string, names map[string]bool) (bool, error) {
	entries, err := h.root.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			if only, err := h.onlyThese(name, names); err != nil || !only {
				return false, err
			}
		} else if !names[name] {
			return false, nil
		}
	}
	return true, nil
}
