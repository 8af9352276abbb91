package workspace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"banger/internal/model"
)

// batch reads many objects through one git.
type batch struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	left int64 // of the object that is open, with its newline
}

func (g git) newBatch(ctx context.Context) (*batch, error) {
	cmd := g.command(ctx, "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &batch{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 64<<10)}, nil
}

// open returns the content of a blob. It ends what was open before.
func (b *batch) open(i id) (io.ReadCloser, int64, error) {
	if _, err := io.CopyN(io.Discard, b.out, b.left); err != nil {
		return nil, 0, err
	}
	b.left = 0
	if _, err := fmt.Fprintln(b.in, i); err != nil {
		return nil, 0, err
	}
	line, err := b.out.ReadString('\n')
	if err != nil {
		return nil, 0, err
	}
	var name, kind string
	var size int64
	if n, _ := fmt.Sscan(strings.TrimSpace(line), &name, &kind, &size); n != 3 || kind != "blob" || id(name) != i {
		return nil, 0, model.Errorf(model.ErrCorrupt, "cannot read the object %s: git says %q", short(i), strings.TrimSpace(line))
	}
	b.left = size + 1
	return &blobReader{b, size}, size, nil
}

// bytes returns a whole small content.
func (b *batch) bytes(i id) ([]byte, error) {
	r, _, err := b.open(i)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func (b *batch) close() {
	_ = b.in.Close()
	_, _ = io.Copy(io.Discard, b.out)
	_ = b.cmd.Wait() // it has said what it was asked for
}

type blobReader struct {
	batch *batch
	left  int64
}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.batch.out.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.batch.left -= int64(n)
	if errors.Is(err, io.EOF) && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *blobReader) Close() error { return nil }
