package layers

import (
	"context"
	"errors"
	"io"
)

// once writes the files of a single layer while it is read. Everything without a content waits for the end, when the tree
// is whole; then it shows whether each name that was written is still what it was. What turns out to be needed although
// it was not written is read again.
func (f *flattening) once(ctx context.Context, b *budget, out io.Writer) error {
	w := newWriter(ctx, out, &f.sum)
	o := &once{tree: f.tree, writer: w, drop: f.options.Rules.Drop, replaced: map[string]bool{}}
	for _, r := range f.options.Rules.Replace {
		o.replaced[r.Name] = true
	}
	f.tree.begin()
	s := &scanner{budget: b, tell: f.progress(), each: o.entry}
	found, err := s.scan(ctx, f.layers[0])
	if err == nil {
		err = invalid(f.tree.end())
	}
	if err != nil {
		if o.failed != nil {
			return o.failed
		}
		return f.failed(ctx, 0, err)
	}
	f.sum.DroppedAttributes, f.sum.Read = found.dropped, b.stream.Load()
	return f.write(ctx, w)
}

type once struct {
	tree     *tree
	writer   *writer
	drop     func(string) bool
	replaced map[string]bool
	failed   error // of writing, so that it is not blamed on the layer
}

func (o *once) entry(r *record, content io.Reader) error {
	if err := o.tree.apply(r); err != nil {
		return invalid(err)
	}
	if r.does != put || !r.holdsContent() {
		return nil
	}
	n := o.tree.last
	if full := n.path(); o.replaced[full] || (o.drop != nil && o.drop(full)) {
		return nil
	}
	if o.failed = o.parents(n.parent); o.failed == nil {
		n.written, r.inode.home = n.inode, n
		o.writer.early++
		in := &noted{in: content}
		if err := o.writer.content(file{n, r.inode}, in); in.err != nil {
			return in.err
		} else if err != nil {
			o.failed = err
		}
	}
	return o.failed
}

// noted remembers that it was the reading that failed.
type noted struct {
	in  io.Reader
	err error
}

func (n *noted) Read(p []byte) (int, error) {
	m, err := n.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = broken(err, 1)
	}
	return m, err
}

// parents writes a directory that was not yet, after those above it.
func (o *once) parents(dir *node) error {
	if dir.written != nil {
		return nil
	}
	if dir.parent != nil {
		if err := o.parents(dir.parent); err != nil {
			return err
		}
	}
	dir.written = dir.inode
	o.writer.early++
	return o.writer.header(dir.path(), dir.inode)
}
