package workspace

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"banger/internal/model"
)

// The files in a store that list what of the project did not go in, and the repositories whose files went in as plain
// ones.
const (
	leftList   = "banger-left"
	nestedList = "banger-nested"
)

func writeList(dir, name string, paths []string) error {
	var b bytes.Buffer
	for _, p := range paths {
		b.WriteString(p + "\x00")
	}
	return os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600)
}

func readList(dir, name string) (map[string]bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, p := range fields(text) {
		all[p] = true
	}
	return all, nil
}

// otherBase makes the tree of one of the user's commits the one that the guest is compared with. Files that did not go
// in, and those of submodules, are on neither side; the latter are named where they changed.
func (w Workspace) otherBase(ctx context.Context, f *fetched, revision string) (tree id, commit string, err error) {
	p, err := openProject(ctx, w.Host)
	if err != nil {
		return "", "", err
	}
	base, err := p.resolve(ctx, revision)
	if err != nil {
		return "", "", err
	}
	if p.repo.format != f.store.format {
		return "", "", model.Errorf(model.ErrInvalid, "cannot compare with %q: %s is no longer the repository that was copied in", revision, w.Host)
	}
	left, err := readList(w.Dir, leftList)
	if err != nil {
		return "", "", err
	}
	nested, err := readList(w.Dir, nestedList)
	if err != nil {
		return "", "", err
	}
	theirs, err := p.treeOf(ctx, base)
	if err != nil {
		return "", "", err
	}
	for name := range theirs {
		if left[name] || within(name, nested) || !w.Options.IncludeSecrets && looksSecret(name) {
			delete(theirs, name)
		}
	}
	f.dropNested(nested)
	objects, err := p.gitPath(ctx, "objects")
	if err != nil {
		return "", "", err
	}
	// The user's objects are read where they are.
	borrowed := filepath.Join(w.Dir, "objects") + "\n" + objects + "\n"
	if strings.Count(borrowed, "\n") != 2 {
		return "", "", model.Errorf(model.ErrInvalid, "cannot compare with %q: the path of %s holds a line's end", revision, w.Host)
	}
	if err := os.WriteFile(filepath.Join(f.store.dir, "objects", "info", "alternates"), []byte(borrowed), 0o600); err != nil {
		return "", "", err
	}
	if f.tree, err = f.store.writeTree(ctx, f.now); err != nil {
		return "", "", err
	}
	tree, err = f.store.writeTree(ctx, theirs)
	return tree, string(base), err
}

// dropNested takes the files of submodules out of what the guest has, and names those that changed.
func (f *fetched) dropNested(nested map[string]bool) {
	const why = "it lies in a submodule, whose files are in no commit of the project: take it out without --base-commit"
	left := len(f.Left)
	for name := range f.base {
		if _, there := f.now[name]; !there && within(name, nested) {
			f.Left = append(f.Left, Problem{name, why})
		}
	}
	for name, now := range f.now {
		if !within(name, nested) {
			continue
		}
		if f.base[name] != now {
			f.Left = append(f.Left, Problem{name, why})
		}
		delete(f.now, name)
	}
	f.partial = len(f.Left) > left
	sort.Slice(f.Left, func(i, j int) bool { return f.Left[i].Path < f.Left[j].Path })
}

// writeTree makes a tree of objects that are there.
func (s store) writeTree(ctx context.Context, t tree) (id, error) {
	in, err := s.newImporter(ctx)
	if err != nil {
		return "", err
	}
	defer in.abort()
	return in.finish(t)
}

// within says whether name lies in one of dirs.
func within(name string, dirs map[string]bool) bool {
	for i := range len(name) {
		if name[i] == '/' && dirs[name[:i]] {
			return true
		}
	}
	return false
}
