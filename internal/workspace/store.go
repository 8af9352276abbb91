package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/model"
)

// store is a bare repository of ours: what was copied in, as git objects. Nobody but us writes to it, and it has no
// configuration but our own.
type store struct {
	git
	format format
}

// attributes takes every meaning from attributes that could come from anywhere else.
const attributes = "* !diff !merge !text !eol !crlf !filter !ident !working-tree-encoding !whitespace !conflict-marker-size !export-ignore !export-subst\n"

// initStore makes an empty store at dir, which must not exist. With borrow, the objects of that other store are its own
// too.
func initStore(ctx context.Context, g git, dir string, f format, borrow string) (store, error) {
	// No hooks, no description, no exclude file of a template; a HEAD that never has a tree, so that no attributes are
	// looked for in one.
	g.dir, g.env = filepath.Dir(dir), nil
	if err := g.run(ctx, nil, nil, "init", "--quiet", "--bare", "--template=", "--object-format="+string(f), "--initial-branch=none", dir); err != nil {
		return store{}, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "info"), 0o700); err != nil {
		return store{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, "info", "attributes"), []byte(attributes), 0o600); err != nil {
		return store{}, err
	}
	s := openStore(g, dir, f)
	if borrow == "" {
		return s, nil
	}
	return s, os.WriteFile(filepath.Join(dir, "objects", "info", "alternates"), []byte(filepath.Join(borrow, "objects")+"\n"), 0o600)
}

func openStore(g git, dir string, f format) store { return store{git: g.own(dir), format: f} }

// listTree reads a whole tree. Submodules are left out of it.
func listTree(ctx context.Context, g git, treeish id) (tree, error) {
	out, err := g.output(ctx, nil, "ls-tree", "-r", "-z", "-l", "--full-tree", string(treeish))
	if err != nil {
		return nil, err
	}
	t := tree{}
	for _, f := range fields(out) {
		info, name, ok := strings.Cut(f, "\t")
		parts := strings.Fields(info)
		if !ok || len(parts) != 4 {
			return nil, model.Errorf(model.ErrCorrupt, "cannot read a tree: git listed %q", f)
		}
		if parts[1] != "blob" {
			continue
		}
		mode, err := strconv.ParseUint(parts[0], 8, 32)
		if err != nil {
			return nil, model.Errorf(model.ErrCorrupt, "cannot read a tree: git listed %q", f)
		}
		size, err := strconv.ParseInt(parts[3], 10, 64)
		if err != nil {
			return nil, model.Errorf(model.ErrCorrupt, "cannot read a tree: git listed %q", f)
		}
		m := Mode(mode)
		if m != ModeExec && m != ModeLink {
			m = ModeFile // old repositories have 100664
		}
		t[name] = leaf{mode: m, id: id(parts[2]), size: size}
	}
	return t, nil
}

// submodulesOf are the paths at which one of the user's commits has a commit of another repository.
func (p *project) submodulesOf(ctx context.Context, commit id) ([]string, error) {
	out, err := p.git.output(ctx, nil, "ls-tree", "-r", "-z", "--full-tree", string(commit))
	if err != nil {
		return nil, fmt.Errorf("cannot read commit %s of %s: %w", short(commit), p.path, err)
	}
	var names []string
	for _, f := range fields(out) {
		if info, name, ok := strings.Cut(f, "\t"); ok && strings.HasPrefix(info, modeSubmodule.String()+" ") {
			names = append(names, name)
		}
	}
	return names, nil
}

// treeOf reads the tree of one of the user's commits.
func (p *project) treeOf(ctx context.Context, commit id) (tree, error) {
	t, err := listTree(ctx, p.git, commit)
	if err != nil {
		return nil, fmt.Errorf("cannot read commit %s of %s: %w", short(commit), p.path, err)
	}
	return t, nil
}

func short(i id) id { return i[:min(12, len(i))] }

// importer adds objects to a store: one process takes them all.
type importer struct {
	store store
	cmd   interface{ Wait() error }
	in    *bufio.Writer
	pipe  io.WriteCloser
	out   *tail
	ctx   context.Context
	have  map[id]bool
	ended bool
}

const importRef = "refs/banger/import"

func (s store) newImporter(ctx context.Context) (*importer, error) {
	args := []string{"-c", "core.compression=1", "-c", "fastimport.unpackLimit=0"}
	g := s.git
	g.safe = args
	cmd := g.command(ctx, "fast-import", "--quiet", "--done", "--date-format=raw", "--depth=0", "--force")
	complaint := &tail{}
	cmd.Stdout, cmd.Stderr = io.Discard, complaint
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &importer{store: s, cmd: cmd, pipe: pipe, in: bufio.NewWriterSize(pipe, 256<<10), out: complaint, ctx: ctx, have: map[id]bool{}}, nil
}

// blob adds exactly size bytes of r as one object and returns its name.
func (i *importer) blob(size int64, r io.Reader) (id, error) {
	h := i.store.format.blob(size)
	if _, err := fmt.Fprintf(i.in, "blob\ndata %d\n", size); err != nil {
		return "", i.failed(err)
	}
	n, err := io.Copy(i.in, io.TeeReader(io.LimitReader(r, size), h))
	if err != nil {
		return "", i.failed(err)
	}
	if n != size {
		return "", model.Errorf(model.ErrInvalid, "it is %d bytes shorter than it was a moment ago: %w", size-n, io.ErrUnexpectedEOF)
	}
	if err := i.in.WriteByte('\n'); err != nil {
		return "", i.failed(err)
	}
	name := sum(h)
	i.have[name] = true
	return name, nil
}

// content adds a small content once.
func (i *importer) content(c []byte) (id, error) {
	name := i.store.format.blobOf(c)
	if i.have[name] {
		return name, nil
	}
	return i.blob(int64(len(c)), bytes.NewReader(c))
}

// finish adds the tree, whose blobs the store has by now, and returns its name.
func (i *importer) finish(t tree) (id, error) {
	fmt.Fprintf(i.in, "commit %s\ncommitter banger <> 0 +0000\ndata 0\n", importRef)
	for name, l := range t {
		fmt.Fprintf(i.in, "M %s %s %s\n", l.mode, l.id, quotePath(name))
	}
	fmt.Fprint(i.in, "\ndone\n")
	if err := i.in.Flush(); err != nil {
		return "", i.failed(err)
	}
	if err := i.close(); err != nil {
		return "", err
	}
	text, err := i.store.line(i.ctx, "rev-parse", "--verify", "--quiet", importRef+"^{tree}")
	if err != nil {
		return "", err
	}
	// The tree alone is what counts, and the row in the database is what refers to it.
	return id(text), i.store.run(i.ctx, nil, nil, "update-ref", "-d", importRef)
}

func (i *importer) close() error {
	if i.ended {
		return nil
	}
	i.ended = true
	err := i.pipe.Close()
	return errors.Join(i.store.explain(i.ctx, []string{"fast-import"}, i.cmd.Wait(), i.out), err)
}

// abort ends an import that failed. What it left is for the store's removal.
func (i *importer) abort() { _ = i.close() }

// failed prefers git's own complaint to the pipe that broke.
func (i *importer) failed(err error) error {
	if complaint := i.close(); complaint != nil && !errors.Is(err, context.Canceled) {
		return complaint
	}
	return err
}

// quotePath writes a path as git reads it in a stream of commands.
func quotePath(name string) string {
	var b strings.Builder
	b.WriteByte('"')
	for j := range len(name) {
		switch c := name[j]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
