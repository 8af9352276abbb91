package layers

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"banger/internal/model"
)

const (
	maxNames   = 65_000 // of one file, and directories in one: the ext4 writer's limit
	lostFound  = "lost+found"
	bufferSize = 64 << 10
)

// writer writes a merged tree. First everything without a content, from the root down; then the contents in the order in
// which the layers have them, each file followed by its hard links.
type writer struct {
	ctx   context.Context
	buf   *bufio.Writer
	out   *tar.Writer
	sum   *Summary
	files []file
	links map[*inode][]string // further names of files with several
	copy  []byte
	early int // names that were written before the tree was whole and are not yet found in it
}

// file is a name whose content is still to be written.
type file struct {
	name  *node
	inode *inode
}

func newWriter(ctx context.Context, out io.Writer, sum *Summary) *writer {
	buf := bufio.NewWriterSize(out, bufferSize)
	return &writer{ctx: ctx, buf: buf, out: tar.NewWriter(buf), sum: sum, links: map[*inode][]string{}, copy: make([]byte, chunkSize)}
}

// count counts the names of each file, and checks what the ext4 writer cannot do.
func (w *writer) count(dir *node) error {
	dirs := 0
	for _, n := range dir.children {
		if n.isDir() {
			if dirs++; dirs > maxNames-2 {
				return model.Errorf(model.ErrInvalid, "cannot take the image: %.80q has more than %d directories in it", dir.path(), maxNames-2)
			}
			if err := w.count(n); err != nil {
				return err
			}
			continue
		}
		if n.inode.names++; n.inode.names > maxNames {
			return model.Errorf(model.ErrInvalid, "cannot take the image: %.80q has more than %d names", n.path(), maxNames)
		}
	}
	return nil
}

// tree writes what has no content, and notes the rest.
func (w *writer) tree(root *node) error {
	if err := w.count(root); err != nil {
		return err
	}
	if n := root.children[lostFound]; n != nil && !n.isDir() {
		return model.Errorf(model.ErrInvalid, "cannot take the image: its /%s is not a directory, as the file system's own is", lostFound)
	}
	if err := w.name(".", root); err != nil {
		return err
	}
	if err := w.below(root, ""); err != nil {
		return err
	}
	if w.early != 0 {
		return ErrTwice // a name is gone again
	}
	slices.SortStableFunc(w.files, func(a, b file) int {
		return cmp.Or(cmp.Compare(a.inode.layer, b.inode.layer), cmp.Compare(a.inode.at, b.inode.at))
	})
	return nil
}

func (w *writer) below(dir *node, prefix string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		n := dir.children[name]
		full := prefix + name
		if err := w.name(full, n); err != nil {
			return err
		}
		if n.isDir() {
			if err := w.below(n, full+"/"); err != nil {
				return err
			}
		}
	}
	return nil
}

// name writes one name, or notes it where the content must come first.
func (w *writer) name(full string, n *node) error {
	i := n.inode
	switch {
	case n.written != nil && n.written != i:
		return ErrTwice
	case n.written != nil:
		w.early--
		return nil
	case i.home != nil:
		return w.link(full, i.home.path())
	}
	if n.isDir() || i.names == 1 {
		if i.hasContent() {
			w.files = append(w.files, file{n, i})
			return nil
		}
		return w.header(full, i)
	}
	names, again := w.links[i]
	switch {
	case !again && i.hasContent():
		w.links[i] = []string{}
		w.files = append(w.files, file{n, i})
		return nil
	case !again:
		w.links[i] = []string{full}
		return w.header(full, i)
	case i.hasContent():
		w.links[i] = append(names, full)
		return nil
	}
	return w.link(full, names[0])
}

func (w *writer) header(name string, i *inode) error {
	if name != "." {
		w.sum.Entries++
	}
	h := &tar.Header{
		Typeflag: i.kind, Name: name, Linkname: i.link, Size: i.size, Mode: int64(i.mode), Uid: int(i.uid), Gid: int(i.gid),
		ModTime: time.Unix(i.sec, int64(i.nsec)), Devmajor: int64(i.major), Devminor: int64(i.minor),
		PAXRecords: i.attributes, Format: tar.FormatPAX,
	}
	if err := w.out.WriteHeader(h); err != nil {
		return w.failed(name, err)
	}
	return nil
}

func (w *writer) link(name, target string) error {
	w.sum.Entries++
	if err := w.out.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Format: tar.FormatPAX}); err != nil {
		return w.failed(name, err)
	}
	return nil
}

// failed says which name a failure is about, unless it is the consumer's own.
func (w *writer) failed(name string, err error) error {
	if err == nil || errors.Is(err, io.ErrClosedPipe) || model.KindOf(err) != nil {
		return err
	}
	return fmt.Errorf("cannot write %.80q: %w", name, err)
}

// content writes a file with its content, and its hard links.
func (w *writer) content(f file, content io.Reader) error {
	name := f.name.path()
	if err := w.header(name, f.inode); err != nil {
		return err
	}
	w.sum.Bytes += f.inode.size
	for left := f.inode.size; left > 0; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		part := w.copy[:min(left, int64(len(w.copy)))]
		if _, err := io.ReadFull(content, part); err != nil {
			return contentError(w.ctx, name, err)
		}
		if _, err := w.out.Write(part); err != nil {
			return w.failed(name, err)
		}
		left -= int64(len(part))
	}
	for _, other := range w.links[f.inode] {
		if err := w.link(other, name); err != nil {
			return err
		}
	}
	return nil
}

func contentError(ctx context.Context, name string, err error) error {
	if model.KindOf(err) != nil || ctx.Err() != nil {
		return err
	}
	return model.Errorf(model.ErrCorrupt, "cannot take the image: the content of %.80q could not be read again: %w", name, err)
}

// end writes the end marker.
func (w *writer) end() error {
	if err := w.out.Close(); err != nil {
		return err
	}
	return w.buf.Flush()
}
