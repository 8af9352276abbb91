package logfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Follow writes the last tail bytes of the log (all that is kept when tail is not positive) and then what is appended,
// until the log is closed or ctx ends; both are nil errors. A reader slower than the log skips what was replaced
// meanwhile, and is told so in one line.
func (l *File) Follow(ctx context.Context, w io.Writer, tail int64) error {
	l.mu.Lock()
	position := l.start + l.size
	oldest := l.oldest()
	l.mu.Unlock()
	if tail > 0 {
		position = max(oldest, position-tail)
	} else {
		position = oldest
	}
	buffer := make([]byte, 64<<10)
	for {
		n, next, changed, err := l.readAt(buffer, position)
		if err != nil {
			return err
		}
		if skipped := next - position - int64(n); skipped > 0 {
			if _, err := fmt.Fprintf(w, "\n[%d bytes were skipped]\n", skipped); err != nil {
				return err
			}
		}
		position = next
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			continue
		}
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// oldest returns the stream offset of the first byte kept. The caller holds l.mu.
func (l *File) oldest() int64 {
	info, err := os.Stat(l.path + ".1")
	if err != nil {
		return l.start
	}
	return l.start - info.Size()
}

// readAt reads from stream offset position on, or from the oldest byte kept when that one is gone. next is the offset
// after what was read; changed, nil once the log is closed, tells when there is more.
func (l *File) readAt(p []byte, position int64) (n int, next int64, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		changed = l.changed
	}
	if position >= l.start+l.size {
		return 0, position, changed, nil
	}
	path, at, limit := l.path, position-l.start, l.size
	if position < l.start {
		position = max(position, l.oldest())
		path = l.path + ".1"
		limit = l.start - l.oldest()
		at = position - l.oldest()
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, position, changed, err
	}
	defer file.Close()
	n, err = file.ReadAt(p[:min(int64(len(p)), limit-at)], at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, position + int64(n), changed, err
}
