package client

import (
	"context"
	"io"

	"banger/internal/model"
)

// counted is w with a cap and a count of what passes.
func counted(w io.Writer, o CopyOptions) io.Writer {
	limit := o.MaxBytes
	if limit == 0 {
		limit = model.DefaultMaxCopy
	}
	return &counter{w: w, o: o, left: limit, limit: limit}
}

type counter struct {
	w           io.Writer
	o           CopyOptions
	left, limit int64
}

func (c *counter) Write(b []byte) (int, error) {
	if int64(len(b)) > c.left {
		return 0, model.Errorf(model.ErrInvalid, "cannot go on: the copy is %w, %s", ErrTooLarge, model.FormatSize(c.limit))
	}
	n, err := c.w.Write(b)
	c.left -= int64(n)
	if c.o.Progress != nil {
		c.o.Progress(CopySummary{Bytes: c.limit - c.left})
	}
	return n, err
}

// leavable reads r in a goroutine of its own, so that a Read which waits for somebody can be left behind when ctx ends.
func leavable(ctx context.Context, r io.Reader) io.Reader {
	l := &leavableReader{ctx: ctx, pieces: make(chan piece)}
	go func() {
		for {
			buf := make([]byte, maxFileData)
			n, err := r.Read(buf)
			select {
			case l.pieces <- piece{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return l
}

type piece struct {
	data []byte
	err  error
}

type leavableReader struct {
	ctx    context.Context
	pieces chan piece
	rest   piece
}

func (l *leavableReader) Read(b []byte) (int, error) {
	for len(l.rest.data) == 0 {
		if l.rest.err != nil {
			return 0, l.rest.err
		}
		select {
		case l.rest = <-l.pieces:
		case <-l.ctx.Done():
			return 0, plain(l.ctx, context.Cause(l.ctx))
		}
	}
	n := copy(b, l.rest.data)
	l.rest.data = l.rest.data[n:]
	return n, nil
}
