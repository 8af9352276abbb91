package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"banger/internal/model"
)

// kind is what the first bytes of a file say.
type kind string

const (
	kindTar     kind = "tar"
	kindGzip    kind = "gzip"
	kindZstd    kind = "zstd"
	kindXz      kind = "xz"
	kindBzip2   kind = "bzip2"
	kindExt4    kind = "ext4"
	kindQcow2   kind = "qcow2"
	kindEmpty   kind = "empty"
	kindUnknown kind = "unknown"
)

// block is a tar's; the magic of ext4 lies at 0x438, behind the second one.
const block = 512

func sniff(file *os.File) (kind, error) {
	head := make([]byte, 4*block)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	head = head[:n]
	has := func(at int, magic string) bool { return n >= at+len(magic) && string(head[at:at+len(magic)]) == magic }
	switch {
	case n == 0:
		return kindEmpty, nil
	case has(0, "\x1f\x8b"):
		return kindGzip, nil
	case has(0, "\x28\xb5\x2f\xfd"):
		return kindZstd, nil
	case has(0, "\xfd7zXZ\x00"):
		return kindXz, nil
	case has(0, "BZh"):
		return kindBzip2, nil
	case has(0, "QFI\xfb"):
		return kindQcow2, nil
	case has(0x438, "\x53\xef"):
		return kindExt4, nil
	}
	// Old tars have no magic: their first header's checksum is right, which the reader looks at.
	_, err = tar.NewReader(bytes.NewReader(head)).Next()
	if errors.Is(err, tar.ErrHeader) || (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) && n < block {
		return kindUnknown, nil
	}
	return kindTar, nil
}

// plain returns what a compressed file holds.
func plain(ctx context.Context, file *os.File, k kind) (io.ReadCloser, error) {
	in := reader{ctx, io.NewSectionReader(file, 0, 1<<62)}
	if k == kindGzip {
		return gzip.NewReader(in)
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// beginsAsImage says whether the first member of a compressed tar is one of an image's archive.
func beginsAsImage(ctx context.Context, file *os.File, k kind) (bool, error) {
	in, err := plain(ctx, file, k)
	if err != nil {
		return false, err
	}
	defer in.Close()
	h, err := tar.NewReader(in).Next()
	if errors.Is(err, io.EOF) {
		return false, nil // an empty one: what reads it says so
	}
	if err != nil {
		return false, err
	}
	return isMember(h.Name), nil
}

// decompress puts a compressed archive into a file without a name.
func decompress(ctx context.Context, file *os.File, k kind, o Options) (*os.File, error) {
	in, err := plain(ctx, file, k)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return Spool(ctx, in, o)
}

// Spool copies a stream to a file without a name, so that it can be read out of order.
func Spool(ctx context.Context, in io.Reader, o Options) (*os.File, error) {
	out, err := os.CreateTemp(o.Scratch, "spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(out.Name()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	n, err := io.Copy(out, &counter{in: reader{ctx, io.LimitReader(in, o.MaxBytes+1)}, progress: o.Progress})
	if err == nil && n > o.MaxBytes {
		err = model.Errorf(model.ErrInvalid, "cannot import the archive: it has more than %s; if you trust it, raise max-bytes below [images] in config.toml", model.FormatSize(o.MaxBytes))
	}
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// counter tells how much was read.
type counter struct {
	in       io.Reader
	done     int64
	progress func(int64)
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.done += int64(n)
	if c.progress != nil {
		c.progress(c.done)
	}
	return n, err
}

// reader ends a stream with its context.
type reader struct {
	ctx context.Context
	in  io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}
