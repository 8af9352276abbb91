package layers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"banger/internal/image/ahead"
	"banger/internal/model"
)

// maxWindow is the largest window that zstd writes unless told to go beyond its own levels.
const maxWindow = 128 << 20

// chunkSize is how much is read or copied at a time.
const chunkSize = 256 << 10

// stream is a layer being read, uncompressed.
type stream struct {
	*ahead.Reader // uncompressed
	packed        *ahead.Reader
	source        io.Closer
	compressed    bool
	closeTool     func()
}

// open begins a layer. tell, which may be nil, is told each read of compressed bytes.
func (l Layer) open(ctx context.Context, b *budget, tell func(int)) (*stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	source, err := l.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &stream{packed: ahead.New(source), source: source} // whose digest may be made as it is read
	raw := &counted{ctx: ctx, in: s.packed, tell: tell}
	plain, err := s.decompress(bufio.NewReaderSize(raw, chunkSize))
	if err != nil {
		s.packed.Stop()
		source.Close()
		return nil, broken(err, 0)
	}
	s.Reader = ahead.New(&capped{in: plain, raw: raw, budget: b, compressed: s.compressed})
	return s, nil
}

// decompress tells the compression by the first bytes.
func (s *stream) decompress(in *bufio.Reader) (io.Reader, error) {
	begin, err := in.Peek(6)
	switch {
	case len(begin) == 0 && errors.Is(err, io.EOF):
		return nil, model.Errorf(model.ErrCorrupt, "it is empty, without even the end of a tar")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte{0x1f, 0x8b}):
		s.compressed = true
		return gzip.NewReader(in)
	case bytes.HasPrefix(begin, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(begin) >= 4 && begin[0]&0xf0 == 0x50 && begin[1] == 0x2a && begin[2] == 0x4d && begin[3] == 0x18:
		s.compressed = true
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		s.closeTool = d.Close
		return d, nil
	}
	for magic, name := range map[string]string{"\xfd7zXZ\x00": "xz", "BZh": "bzip2", "\x04\x22\x4d\x18": "lz4", "PK\x03\x04": "zip"} {
		if bytes.HasPrefix(begin, []byte(magic)) {
			return nil, model.Errorf(model.ErrUnsupported, "it is compressed with %s, and layers can be with gzip or zstd; compress it again, or not at all", name)
		}
	}
	return in, nil
}

// close ends the layer, read to its end or not.
func (s *stream) close() error {
	s.Stop()
	if s.closeTool != nil {
		s.closeTool()
	}
	s.packed.Stop()
	return s.source.Close()
}

// counted counts a layer's compressed bytes, and ends with its context.
type counted struct {
	ctx  context.Context
	in   io.Reader
	n    atomic.Int64 // the zstd decoder reads in a goroutine of its own
	tell func(int)
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sourceError{err}
	}
	c.n.Add(int64(n))
	if c.tell != nil {
		c.tell(n)
	}
	return n, err
}

// sourceError is a failure to get at a layer, which says nothing about the layer.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// capped ends a layer that grows beyond what is allowed.
type capped struct {
	in         io.Reader
	raw        *counted
	budget     *budget
	compressed bool
	n          int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	if over := c.budget.read(int64(n)); over != nil {
		return 0, over
	}
	if ratio := c.budget.limits.Ratio; c.compressed && c.n > ratioFloor && c.n/ratio > c.raw.n.Load() {
		return 0, overLimit(limitRatio, ratio, "a layer becomes more than %d times larger uncompressed", ratio)
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = model.Errorf(model.ErrInvalid, "it needs more than %d MiB of memory to be decompressed: %w", maxWindow>>20, err)
	}
	return n, err
}
