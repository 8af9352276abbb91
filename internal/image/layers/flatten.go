package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"banger/internal/model"
)

// Flatten writes the layers, lowest first, as one tar to out. But for Options.Once, nothing is written before all layers
// have been read once.
func Flatten(ctx context.Context, out io.Writer, ls []Layer, o Options) (Summary, error) {
	if err := o.check(ls); err != nil {
		return Summary{}, err
	}
	sum, err := flatten(ctx, out, ls, o)
	if err != nil && model.KindOf(err) == nil && ctx.Err() != nil { // wherever the cancellation was noticed first
		err = canceled(ctx)
	}
	return sum, err
}

func canceled(ctx context.Context) error {
	return model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
}

func flatten(ctx context.Context, out io.Writer, ls []Layer, o Options) (Summary, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &budget{limits: o.Limits}
	f := &flattening{layers: ls, options: o, tree: newTree(b), found: make([]scanned, len(ls))}
	if o.Once && len(ls) == 1 {
		defer cancel()
		err := f.once(ctx, b, out)
		return f.sum, err
	}
	first := f.scanAll(ctx, b)
	defer func() {
		cancel()
		for i := range first {
			for range first[i] { // until it is closed
			}
		}
		for _, found := range f.found {
			if found.spool != nil {
				found.spool.file.Close()
			}
		}
	}()
	for i := range ls {
		if err := <-first[i]; err != nil {
			return Summary{}, f.failed(ctx, i, err)
		}
		if err := f.tree.merge(ctx, f.found[i].records); err != nil {
			return Summary{}, f.failed(ctx, i, invalid(err))
		}
		f.sum.DroppedAttributes += f.found[i].dropped
		f.found[i].records = nil
	}
	f.sum.Read = b.stream.Load()
	if err := f.write(ctx, newWriter(ctx, out, &f.sum)); err != nil {
		return Summary{}, err
	}
	return f.sum, nil
}

func (o Options) check(ls []Layer) error {
	l := o.Limits
	if l.Bytes <= 0 || l.Ratio <= 0 || l.Entries <= 0 || l.Path <= 0 || l.Depth <= 0 || l.Layers <= 0 || l.Index <= 0 {
		return model.Errorf(model.ErrInvalid, "cannot take an image with a limit of nothing: each has to be above zero")
	}
	if len(ls) > l.Layers {
		return overLimit(limitLayers, int64(l.Layers), "it has %d layers, and %d are allowed", len(ls), l.Layers)
	}
	if len(ls) == 0 {
		return model.Errorf(model.ErrInvalid, "cannot take the image: it has no layers")
	}
	var known int64
	for _, layer := range ls {
		if known += min(layer.Size, l.Bytes); known > l.Bytes || layer.Size > l.Bytes {
			return overLimit(limitBytes, l.Bytes, "its layers are larger than %d bytes even as they are", l.Bytes)
		}
	}
	return nil
}

// flattening is one call of Flatten.
type flattening struct {
	layers  []Layer
	options Options
	tree    *tree
	found   []scanned
	sum     Summary
}

// maxScans is how many layers are read at a time; each may need maxWindow of memory.
const maxScans = 4

// scanAll reads all layers once, some at a time, the lowest first. Each channel tells how its layer went, and is closed
// then.
func (f *flattening) scanAll(ctx context.Context, b *budget) []chan error {
	done := make([]chan error, len(f.layers))
	for i := range done {
		done[i] = make(chan error, 1)
	}
	next := make(chan int, len(f.layers))
	for i := range f.layers {
		next <- i
	}
	close(next)
	tell := f.progress()
	for range min(maxScans, len(f.layers), runtime.GOMAXPROCS(0)) {
		go func() {
			for i := range next {
				s := &scanner{layer: i, budget: b, tell: tell, dir: f.options.Scratch}
				var err error
				f.found[i], err = s.scan(ctx, f.layers[i])
				done[i] <- err
				close(done[i])
			}
		}()
	}
	return done
}

// progress sums up what the layers report, and hands it on now and then.
func (f *flattening) progress() func(int) {
	if f.options.Progress == nil {
		return nil
	}
	var mu sync.Mutex
	var total, told int64
	return func(n int) {
		mu.Lock()
		defer mu.Unlock()
		total += int64(n)
		if n == 0 || total-told >= model.MiB { // a read of nothing is the end of a layer
			told = total
			f.options.Progress(total)
		}
	}
}

// write writes the merged tree.
func (f *flattening) write(ctx context.Context, w *writer) error {
	t, rules := f.tree, f.options.Rules
	if rules.Drop != nil {
		t.drop(t.root, "", rules.Drop)
	}
	records, contents := replacements(rules.Replace)
	for i := range contents {
		i.layer = uint16(len(f.layers))
	}
	if err := t.merge(ctx, records); err != nil {
		var limit *LimitError
		if errors.As(err, &limit) {
			return limit
		}
		return model.Errorf(model.ErrInvalid, "cannot take the image: %w", err)
	}
	t.summarize(&f.sum)
	if err := w.tree(t.root); err != nil {
		return err
	}
	for files := w.files; len(files) > 0; {
		layer := int(files[0].inode.layer)
		n := 1
		for n < len(files) && int(files[n].inode.layer) == layer {
			n++
		}
		if err := f.contents(ctx, w, layer, files[:n], contents); err != nil {
			return err
		}
		files = files[n:]
	}
	return w.end()
}

// contents writes the files whose contents one layer has, in that layer's order.
func (f *flattening) contents(ctx context.Context, w *writer, layer int, files []file, texts map[*inode]string) error {
	if layer < len(f.layers) && f.found[layer].spool == nil {
		return f.reread(ctx, w, layer, files)
	}
	for _, file := range files {
		var content io.Reader = strings.NewReader(texts[file.inode])
		if layer < len(f.layers) {
			content = io.NewSectionReader(f.found[layer].spool.file, file.inode.at, file.inode.size)
		}
		if err := w.content(file, content); err != nil {
			return err
		}
	}
	return nil
}

func invalid(err error) error {
	if err == nil || model.KindOf(err) != nil {
		return err
	}
	return model.Errorf(model.ErrInvalid, "%w", err)
}

// failed says which layer an error is about.
func (f *flattening) failed(ctx context.Context, layer int, err error) error {
	var limit *LimitError
	switch kind := model.KindOf(err); {
	case errors.As(err, &limit):
		return err
	case ctx.Err() != nil:
		return canceled(ctx)
	case kind != nil:
		return model.Errorf(kind, "cannot take the image: layer %d of %d: %w", layer+1, len(f.layers), err)
	}
	return fmt.Errorf("cannot take the image: layer %d of %d: %w", layer+1, len(f.layers), err)
}
