package ext4

import (
	"bytes"
	"io"
	"os"

	"banger/internal/image/sparse"
)

// holes leaves out the zeros that a writer appends, so that the holes of files cost neither time nor space. Zeros over
// something written before are written.
type holes struct {
	file    *os.File
	at, end int64
	zeros   []byte
	sums    *sparse.Sums
}

const holeSize = 64 << 10

func newHoles(file *os.File) *holes {
	return &holes{file: file, zeros: make([]byte, holeSize), sums: sparse.Follow(file)}
}

func (h *holes) Read(p []byte) (int, error) {
	n, err := h.file.ReadAt(p, h.at)
	h.at += int64(n)
	return n, err
}

func (h *holes) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += h.at
	case io.SeekEnd:
		offset += h.end
	}
	h.at = offset
	return h.at, nil
}

func (h *holes) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+holeSize)]
		if h.at < h.end || !bytes.Equal(part, h.zeros[:len(part)]) {
			if n, err := h.file.WriteAt(part, h.at); err != nil {
				return done + n, err
			}
		}
		done += len(part)
		h.at += int64(len(part))
		h.end = max(h.end, h.at)
	}
	h.sums.Written(h.end)
	return done, nil
}

// finish makes the file as long as what was written to it, and returns its sums.
func (h *holes) finish() (*sparse.Sums, error) {
	h.sums.Stop()
	return h.sums, h.file.Truncate(h.end)
}
