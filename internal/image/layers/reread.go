package layers

import (
	"archive/tar"
	"context"
	"errors"

	"banger/internal/model"
)

// reread copies contents from a layer that is read a second time, no further than the last of them.
func (f *flattening) reread(ctx context.Context, w *writer, layer int, files []file) (err error) {
	in, err := f.layers[layer].open(ctx, &budget{limits: f.options.Limits}, nil)
	if err != nil {
		return f.failed(ctx, layer, err)
	}
	defer func() { err = errors.Join(err, in.close()) }()
	r := tar.NewReader(in)
	for at := int64(0); len(files) > 0; {
		h, err := r.Next()
		if err != nil {
			return f.failed(ctx, layer, changed(err))
		}
		rec, _, err := f.options.Limits.parse(h)
		if err != nil {
			return f.failed(ctx, layer, changed(err))
		}
		if !rec.holdsContent() {
			continue
		}
		if at == files[0].inode.at {
			if h.Size != files[0].inode.size {
				return f.failed(ctx, layer, changed(errors.New("a file has another size")))
			}
			if err := w.content(files[0], r); err != nil {
				return err
			}
			files = files[1:]
		}
		at++
	}
	return nil
}

// changed explains why the second reading of a layer finds what the first did not.
func changed(err error) error {
	if model.KindOf(err) != nil || errors.Is(err, context.Canceled) {
		return err
	}
	return model.Errorf(model.ErrCorrupt, "it was another one when it was read again: %w", err)
}
