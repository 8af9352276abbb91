package workspace

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/model"
	"banger/internal/rootedfs"
)

// Base is what a copy was made of: what later comparisons are made with.
type Base struct {
	Format      string // of the object names
	Tree        string // what was copied in, in the store
	Commit      string // the guest's, or ""
	Branch      string // the guest's, or "" for none
	Head        string // the host's commit then, or ""
	Fingerprint string // of the host's files then, or "" when they came from a commit
	Files       int
	Bytes       int64
}

// filesList is the file in a store that lists the paths which a fingerprint is of.
const filesList = "banger-files"

// Copy writes the project as a tar stream, .git included, everything below name, and keeps what it wrote in a new store at
// dir. When it fails, the caller removes dir.
func (p *Plan) Copy(ctx context.Context, dir, name string, w io.Writer, report model.Report) (Base, error) {
	f := formatSHA1
	if p.Git {
		f = p.project.repo.format
	}
	s, err := initStore(ctx, p.project.git, dir, f, "")
	if err != nil {
		return Base{}, err
	}
	if err := p.keepLists(dir); err != nil {
		return Base{}, err
	}
	b := Base{Format: string(f), Head: p.Head, Files: len(p.Files)}
	out := &archive{tar.NewWriter(w), name}
	if err := out.directory("", 0o755); err != nil {
		return Base{}, err
	}
	if p.Git {
		if b.Commit, b.Branch, err = p.copyRepository(ctx, out); err != nil {
			return Base{}, err
		}
	}
	in, err := s.newImporter(ctx)
	if err != nil {
		return Base{}, err
	}
	defer in.abort()
	c := &copier{plan: p, out: out, in: in, dirs: map[string]bool{}, tree: tree{}, seen: sha256.New(), report: report}
	if err := c.all(ctx); err != nil {
		return Base{}, err
	}
	made, err := in.finish(c.tree)
	if err != nil {
		return Base{}, err
	}
	b.Tree, b.Bytes = string(made), c.done
	if p.options.From == "" {
		b.Fingerprint = hex.EncodeToString(c.seen.Sum(nil))
	}
	return b, out.Close()
}

// archive is a tar stream in which everything lies below one name.
type archive struct {
	*tar.Writer
	name string
}

func (a *archive) header(h *tar.Header) error {
	h.Name = a.name + "/" + h.Name
	return a.WriteHeader(h)
}

func (a *archive) directory(name string, mode int64) error {
	if name != "" {
		name += "/"
	}
	return a.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: time.Now(), Format: tar.FormatPAX})
}

// keepLists keeps what the way back needs to know of the project.
func (p *Plan) keepLists(dir string) error {
	left := make([]string, 0, len(p.Left))
	for _, l := range p.Left {
		left = append(left, l.Path)
	}
	nested := make([]string, 0, len(p.nested))
	for name := range p.nested {
		nested = append(nested, name)
	}
	return errors.Join(writeList(dir, leftList, left), writeList(dir, nestedList, nested), p.keepExcludes(dir))
}

// keepExcludes keeps the user's rules that lie outside of the project's files: they count on the way back too.
func (p *Plan) keepExcludes(dir string) error {
	if !p.Git {
		return nil
	}
	var rules bytes.Buffer
	for _, name := range []string{p.project.repo.info, p.project.repo.exclude} {
		text, err := os.ReadFile(name)
		if err == nil && len(text) <= maxIgnoreFile { // what cannot be read, git does not read either
			rules.Write(append(text, '\n'))
		}
	}
	return os.WriteFile(filepath.Join(dir, "info", "exclude"), rules.Bytes(), 0o600)
}

// copyRepository writes .git.
func (p *Plan) copyRepository(ctx context.Context, out *archive) (commit, branch string, err error) {
	dir, err := os.MkdirTemp(p.scratch, "repository-")
	if err != nil {
		return "", "", err
	}
	defer removeOwn(dir)
	c, branch, err := p.buildRepository(ctx, dir)
	if err != nil {
		return "", "", err
	}
	return string(c), branch, writeDirectory(out, dir)
}

// writeDirectory writes a directory of ours as it is.
func writeDirectory(out *archive, dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(rel), ModTime: info.ModTime(), Format: tar.FormatPAX}
		if e.IsDir() {
			return out.directory(h.Name, 0o755)
		}
		h.Typeflag, h.Size, h.Mode = tar.TypeReg, info.Size(), 0o644
		if strings.HasPrefix(h.Name, ".git/objects/") {
			h.Mode = 0o444
		}
		if err := out.header(h); err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(out, f)
		return err
	})
}

// copier writes the files, to the guest and to the store at once, so that the two cannot differ.
type copier struct {
	plan   *Plan
	out    *archive
	in     *importer
	dirs   map[string]bool
	tree   tree
	seen   hash.Hash // becomes the fingerprint
	done   int64
	report model.Report
}

func (c *copier) all(ctx context.Context) error {
	open, end, err := c.plan.reader(ctx)
	if err != nil {
		return err
	}
	defer end()
	var list bytes.Buffer
	for i, f := range c.plan.Files {
		if i%64 == 0 {
			c.report(model.Progress{Stage: "copy the project", Done: c.done, Total: c.plan.Bytes})
		}
		if err := ctx.Err(); err != nil {
			return model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
		}
		if err := c.directories(f.Path); err != nil {
			return err
		}
		if err := c.one(f, open); err != nil {
			return fmt.Errorf("cannot copy %q: %w", f.Path, err)
		}
		list.WriteString(f.Path + "\x00")
	}
	if err := c.in.in.Flush(); err != nil {
		return c.in.failed(err)
	}
	return os.WriteFile(filepath.Join(c.in.store.dir, filesList), list.Bytes(), 0o600)
}

// directories writes those that a file lies in, once each.
func (c *copier) directories(name string) error {
	dir := path.Dir(name)
	if dir == "." || c.dirs[dir] {
		return nil
	}
	if err := c.directories(dir); err != nil {
		return err
	}
	c.dirs[dir] = true
	return c.out.directory(dir, 0o755)
}

func (c *copier) one(f File, open opener) error {
	h := &tar.Header{Name: f.Path, Mode: 0o644, ModTime: time.Now(), Format: tar.FormatPAX, Typeflag: tar.TypeReg}
	if f.Mode == ModeExec {
		h.Mode = 0o755
	}
	if f.Mode == ModeLink {
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Target, 0o777
		name, err := c.in.content([]byte(f.Target))
		if err != nil {
			return err
		}
		c.tree[f.Path] = leaf{ModeLink, name, f.Size}
		fingerprint(c.seen, f.Path, ModeLink, f.Size, time.Time{})
		return c.out.header(h)
	}
	r, size, modified, err := open(f)
	if err != nil {
		return err
	}
	defer r.Close()
	h.Size = size
	if !modified.IsZero() {
		h.ModTime = modified
	}
	if err := c.out.header(h); err != nil {
		return err
	}
	name, err := c.in.blob(size, io.TeeReader(r, c.out))
	if err != nil {
		return err
	}
	c.done += size
	c.tree[f.Path] = leaf{f.Mode, name, size}
	fingerprint(c.seen, f.Path, f.Mode, size, modified)
	return nil
}

// fingerprint adds one file. A file that was written since has another time or another size.
func fingerprint(h hash.Hash, name string, m Mode, size int64, modified time.Time) {
	fmt.Fprintf(h, "%d %s %d %d\n%s\n", len(name), m, size, modified.UnixNano(), name)
}

// addFingerprint adds a file as it lies there now; one that is gone adds nothing.
func addFingerprint(h hash.Hash, root *rootedfs.Root, name string) {
	info, err := root.Lstat(name)
	switch {
	case err != nil:
	case info.Mode&fs.ModeSymlink != 0:
		fingerprint(h, name, ModeLink, info.Size, time.Time{})
	case info.Mode&0o100 != 0:
		fingerprint(h, name, ModeExec, info.Size, info.ModTime)
	default:
		fingerprint(h, name, ModeFile, info.Size, info.ModTime)
	}
}

// opener opens a file of a plan and says how long and how old it is.
type opener func(File) (io.ReadCloser, int64, time.Time, error)

// reader returns how files are read: from the work tree, or out of a commit.
func (p *Plan) reader(ctx context.Context) (opener, func(), error) {
	if p.options.From != "" {
		return p.readCommit(ctx)
	}
	root, err := rootedfs.Open(p.project.path)
	if err != nil {
		return nil, nil, err
	}
	return func(f File) (io.ReadCloser, int64, time.Time, error) {
		file, err := root.Open(f.Path)
		if err != nil {
			return nil, 0, time.Time{}, err
		}
		info, err := file.Stat()
		if err != nil {
			return nil, 0, time.Time{}, errors.Join(err, file.Close())
		}
		return file, info.Size(), info.ModTime(), nil
	}, func() { root.Close() }, nil
}

// readCommit reads blobs through one process.
func (p *Plan) readCommit(ctx context.Context) (opener, func(), error) {
	b, err := p.project.git.newBatch(ctx)
	if err != nil {
		return nil, nil, err
	}
	return func(f File) (io.ReadCloser, int64, time.Time, error) {
		r, size, err := b.open(f.id)
		return r, size, time.Time{}, err
	}, b.close, nil
}
