package guest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	agentv1 "banger/api/agent/v1"
	"banger/internal/model"
)

// silence is how long a guest may say nothing while it works on files.
const silence = 2 * time.Minute

// TreeFile is one file as a guest lists it.
type TreeFile struct {
	Path    string
	Link    bool
	Git     bool // a file or directory called .git
	Special bool // a device, a FIFO, a socket
	Exec    bool
	Size    int64
	Target  string // of a link
}

// ListTree visits the files below an absolute path of the guest. What is listed is the guest's word.
func (g *Guest) ListTree(ctx context.Context, root string, visit func(TreeFile) error) error {
	if err := model.ValidateFilePath(root); err != nil {
		return err
	}
	watch, ctx := newWatch(ctx)
	defer watch.end()
	doing := "cannot list " + root + " in the guest"
	stream, err := g.trees.ListTree(ctx, &agentv1.ListTreeRequest{Root: root})
	if err != nil {
		return watch.explain(doing, err)
	}
	defer stream.Close()
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return watch.explain(doing, err)
		}
		watch.heard()
		for _, f := range m.GetFiles() {
			kind := f.GetKind()
			err := visit(TreeFile{
				Path: string(f.GetPath()), Size: f.GetSize(), Exec: f.GetExec(), Target: string(f.GetTarget()),
				Link: kind == agentv1.TreeKind_TREE_KIND_LINK, Git: kind == agentv1.TreeKind_TREE_KIND_GIT, Special: kind == agentv1.TreeKind_TREE_KIND_SPECIAL,
			})
			if err != nil {
				return err
			}
		}
	}
}

// HashTree returns git's names for the contents of files, "" for those that cannot be read.
func (g *Guest) HashTree(ctx context.Context, root, format string, paths []string) ([]string, error) {
	watch, ctx := newWatch(ctx)
	defer watch.end()
	doing := "cannot compare files of " + root + " in the guest"
	stream, err := g.trees.HashTree(ctx, &agentv1.HashTreeRequest{Root: root, Format: format, Paths: bytesOf(paths)})
	if err != nil {
		return nil, watch.explain(doing, err)
	}
	defer stream.Close()
	var ids []string
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return ids, nil
		}
		if err != nil {
			return nil, watch.explain(doing, err)
		}
		watch.heard()
		if ids = append(ids, m.GetIds()...); len(ids) > len(paths) {
			return nil, model.Errorf(model.ErrCorrupt, "%s: it answers for more files than it was asked about", doing)
		}
	}
}

// ReadTree writes regular files as a tar archive to w, without those that are gone. The archive is the guest's word.
func (g *Guest) ReadTree(ctx context.Context, root string, paths []string, w io.Writer) error {
	watch, ctx := newWatch(ctx)
	defer watch.end()
	doing := "cannot read files of " + root + " in the guest"
	stream, err := g.trees.ReadTree(ctx, &agentv1.ReadTreeRequest{Root: root, Paths: bytesOf(paths)})
	if err != nil {
		return watch.explain(doing, err)
	}
	defer stream.Close()
	out := bufio.NewWriterSize(w, 256<<10)
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return watch.explain(doing, err)
		}
		if _, err := out.Write(m.GetData()); err != nil {
			return err
		}
		watch.heard() // our own reader may have been slow
	}
}

func bytesOf(paths []string) [][]byte {
	all := make([][]byte, len(paths))
	for i, p := range paths {
		all[i] = []byte(p)
	}
	return all
}

// watch ends a call whose guest has fallen silent.
type watch struct {
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
}

func newWatch(ctx context.Context) (*watch, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{ctx: ctx, cancel: func() { cancel(nil) }}
	w.timer = time.AfterFunc(silence, func() {
		cancel(model.Errorf(model.ErrTimeout, "it has said nothing for %s", silence))
	})
	return w, ctx
}

func (w *watch) heard() { w.timer.Reset(silence) }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel()
}

// explain is fromRPC for a call that may have been ended for its silence.
func (w *watch) explain(doing string, err error) error {
	if cause := context.Cause(w.ctx); errors.Is(cause, model.ErrTimeout) {
		return model.Errorf(model.ErrTimeout, "%s: %w", doing, cause)
	}
	return fromRPC(doing, err)
}
