// Package logfile keeps the newest part of an endless text in two files of a capped size.
//
// What is written goes to the file named; when it has reached half the cap it becomes NAME.1, replacing the one before,
// and a new file begins. So at least half the cap is always there, and never more than all of it.
package logfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
)

// File is an open log. Its methods may be called from any goroutine.
type File struct {
	path string
	half int64

	mu      sync.Mutex
	file    *os.File
	size    int64 // of the current file
	start   int64 // offset in the whole stream at which the current file begins
	closed  bool
	changed chan struct{} // closed and replaced at each write, closed for good by Close
}

// Open opens the log at path for appending, capped at limit bytes.
func Open(path string, limit int64) (*File, error) {
	l := &File{path: path, half: limit / 2, changed: make(chan struct{})}
	if err := l.openCurrent(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *File) openCurrent() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

// Write appends p. On a full disk the text is lost, not the writer: the error is returned and the log goes on.
func (l *File) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, fs.ErrClosed
	}
	written := 0
	for len(p) > 0 {
		if l.size >= l.half {
			if err := l.rotate(); err != nil {
				return written, err
			}
		}
		n, err := l.file.Write(p[:min(int64(len(p)), l.half-l.size)])
		l.size += int64(n)
		written += n
		p = p[n:]
		if err != nil {
			return written, err
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return written, nil
}

func (l *File) rotate() error {
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	old := l.file
	begin := l.start + l.size
	if err := l.openCurrent(); err != nil {
		return err
	}
	l.start = begin
	return old.Close()
}

// Close ends the log: followers see the end. Twice is fine.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.changed)
	return l.file.Close()
}

// Remove deletes the log's files at path; nothing there is fine.
func Remove(path string) error {
	var errs []error
	for _, p := range []string{path, path + ".1"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Copy writes the last tail bytes of the log at path to w, or all that is kept when tail is not positive. The log need
// not be open; one that was never written is empty.
func Copy(w io.Writer, path string, tail int64) error {
	var parts []*os.File
	var total int64
	for _, p := range []string{path + ".1", path} {
		file, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		parts = append(parts, file)
		total += info.Size()
	}
	skip := int64(0)
	if tail > 0 && total > tail {
		skip = total - tail
	}
	for _, file := range parts {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if skip >= info.Size() {
			skip -= info.Size()
			continue
		}
		// Bounded by the size seen above, so that a busy log does not keep us for ever.
		if _, err := io.Copy(w, io.NewSectionReader(file, skip, info.Size()-skip)); err != nil {
			return err
		}
		skip = 0
	}
	return nil
}
