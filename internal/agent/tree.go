package agent

import (
	"archive/tar"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"time"

	agentv1 "banger/api/agent/v1"
	"banger/api/agent/v1/agentv1connect"
	"banger/internal/model"
	"banger/internal/rootedfs"
)

const (
	maxTreeBatch = 1000        // files in one message
	maxTreeBytes = 256 << 10   // likewise, about
	hashPause    = time.Second // at most between two answers
)

// trees serves the comparison of files with what a host has.
type trees struct{ *files }

func (t *trees) open(root string) (*rootedfs.Root, func(), error) {
	leave, err := t.enter()
	if err != nil {
		return nil, nil, err
	}
	place, _, err := rootedfs.Resolve(t.sys.Root(), root, true)
	if err == nil {
		var r *rootedfs.Root
		if r, err = rootedfs.OpenIn(t.sys.Root(), place); err == nil {
			return r, func() { r.Close(); leave() }, nil
		}
	}
	leave()
	return nil, nil, err
}

// ListTree serves the list of files.
func (t *trees) ListTree(ctx context.Context, req *agentv1.ListTreeRequest, stream agentv1connect.TreeServiceListTreeServerStream) error {
	root, end, err := t.open(req.GetRoot())
	if err != nil {
		return verdict(err)
	}
	defer end()
	w := &treeWalk{ctx: ctx, root: root, stream: stream}
	if err := w.dir("."); err != nil {
		return verdict(err)
	}
	return w.flush()
}

// treeWalk sends what it finds in batches.
type treeWalk struct {
	ctx    context.Context
	root   *rootedfs.Root
	stream agentv1connect.TreeServiceListTreeServerStream
	batch  []*agentv1.TreeFile
	bytes  int
}

// dir lists a directory. What vanishes meanwhile is not there.
func (w *treeWalk) dir(name string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := w.root.ReadDir(name)
	if gone(err) && name != "." {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.entry(path.Join(name, e.Name()), e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, model.ErrInvalid)
}

func (w *treeWalk) entry(name, base string) error {
	info, err := w.root.Lstat(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	f := &agentv1.TreeFile{Path: []byte(name), Size: info.Size}
	switch {
	case base == ".git":
		f.Kind, f.Size = agentv1.TreeKind_TREE_KIND_GIT, 0
	case info.Mode.IsDir():
		return w.dir(name)
	case info.Mode&fs.ModeSymlink != 0:
		target, err := w.root.Readlink(name)
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		f.Kind, f.Target, f.Size = agentv1.TreeKind_TREE_KIND_LINK, []byte(target), int64(len(target))
	case info.Mode.IsRegular():
		f.Exec = info.Mode&0o100 != 0
	default:
		f.Kind = agentv1.TreeKind_TREE_KIND_SPECIAL
	}
	w.batch = append(w.batch, f)
	w.bytes += len(f.Path) + len(f.Target) + 16
	if len(w.batch) < maxTreeBatch && w.bytes < maxTreeBytes {
		return nil
	}
	return w.flush()
}

func (w *treeWalk) flush() error {
	err := w.stream.Send(&agentv1.ListTreeResponse{Files: w.batch})
	w.batch, w.bytes = nil, 0
	return err
}

// HashTree serves git's names for contents. It answers often, so that the host knows that it is at work.
func (t *trees) HashTree(ctx context.Context, req *agentv1.HashTreeRequest, stream agentv1connect.TreeServiceHashTreeServerStream) error {
	root, end, err := t.open(req.GetRoot())
	if err != nil {
		return verdict(err)
	}
	defer end()
	newHash := sha1.New
	switch req.GetFormat() {
	case "sha1":
	case "sha256":
		newHash = sha256.New
	default:
		return verdict(model.Errorf(model.ErrInvalid, "%q is no format of git's", req.GetFormat()))
	}
	var ids []string
	sent := time.Now()
	for _, name := range req.GetPaths() {
		h := newHash()
		progress := &alive{ctx: ctx, w: h, sent: &sent, tell: func() error { return stream.Send(&agentv1.HashTreeResponse{}) }}
		text, err := hashFile(root, string(name), h, progress)
		if err != nil {
			return verdict(err)
		}
		ids = append(ids, text)
		if len(ids) < maxTreeBatch && time.Since(sent) < hashPause {
			continue
		}
		if err := stream.Send(&agentv1.HashTreeResponse{Ids: ids}); err != nil {
			return err
		}
		ids, sent = nil, time.Now()
	}
	return stream.Send(&agentv1.HashTreeResponse{Ids: ids})
}

// hashFile returns "" for what cannot be read, or changes in size meanwhile.
func hashFile(root *rootedfs.Root, name string, h hash.Hash, w *alive) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", nil // the host asks for its content then, and learns what it is
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil // likewise
	}
	fmt.Fprintf(h, "blob %d\x00", info.Size())
	n, err := io.Copy(w, io.LimitReader(f, info.Size()))
	switch {
	case w.failed != nil:
		return "", w.failed
	case err != nil || n != info.Size():
		return "", nil // likewise
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// alive passes on what is written, and tells that something happens when it takes long.
type alive struct {
	ctx    context.Context
	w      io.Writer
	sent   *time.Time
	tell   func() error
	failed error
}

func (a *alive) Write(p []byte) (int, error) {
	if a.failed = a.ctx.Err(); a.failed == nil && time.Since(*a.sent) >= hashPause {
		a.failed, *a.sent = a.tell(), time.Now()
	}
	if a.failed != nil {
		return 0, a.failed
	}
	return a.w.Write(p)
}

// ReadTree serves the contents of files.
func (t *trees) ReadTree(ctx context.Context, req *agentv1.ReadTreeRequest, stream agentv1connect.TreeServiceReadTreeServerStream) error {
	root, end, err := t.open(req.GetRoot())
	if err != nil {
		return verdict(err)
	}
	defer end()
	out := tar.NewWriter(treeSender{stream})
	for _, name := range req.GetPaths() {
		if err := ctx.Err(); err != nil {
			return verdict(err)
		}
		if err := readFile(root, string(name), out); err != nil {
			return verdict(err)
		}
	}
	return out.Close()
}

func readFile(root *rootedfs.Root, name string, out *tar.Writer) error {
	f, err := root.Open(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm()), Format: tar.FormatPAX}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(f, info.Size()))
	if err == nil && n < info.Size() {
		err = model.Errorf(model.ErrUnavailable, "%s became shorter while it was read; try again", name)
	}
	return err
}

type treeSender struct {
	stream agentv1connect.TreeServiceReadTreeServerStream
}

func (s treeSender) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		part := b[sent:min(len(b), sent+maxData)]
		if err := s.stream.Send(&agentv1.ReadTreeResponse{Data: part}); err != nil {
			return sent, err
		}
		sent += len(part)
	}
	return sent, nil
}
