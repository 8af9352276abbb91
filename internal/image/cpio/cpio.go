// Package cpio writes initramfs archives in the "newc" format that the kernel unpacks (its
// Documentation/driver-api/early-userspace/buffer-format.rst).
//
// The output depends on the entries alone: times are zero, inode numbers count up, everything belongs to root.
package cpio

import (
	"fmt"
	"io"
	"strings"
)

// The file types of an entry, as in st_mode.
const (
	TypeDir     = 0o040000
	TypeRegular = 0o100000
	TypeChar    = 0o020000
)

const (
	trailer = "TRAILER!!!"
	maxSize = 1<<32 - 1
)

// Entry is one file of an archive.
type Entry struct {
	Name  string // relative, without a leading slash
	Mode  uint32 // a type and permission bits
	Size  int64  // of a regular file
	Major uint32 // of a device node
	Minor uint32
}

// Writer writes one archive. Its first error stays: every later call returns it.
type Writer struct {
	out     io.Writer
	inode   uint32
	pending int64 // bytes that the current file still lacks
	padding int   // zero bytes that follow it
	err     error
}

// NewWriter returns a Writer on out. The caller closes out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Add begins an entry. Exactly e.Size bytes are written to the Writer before the next call of Add or Close.
func (w *Writer) Add(e Entry) error {
	if err := w.finish(); err != nil {
		return err
	}
	if e.Name == "" || strings.HasPrefix(e.Name, "/") || strings.ContainsRune(e.Name, 0) {
		return w.fail(fmt.Errorf("%q cannot be a name in a cpio archive", e.Name))
	}
	if e.Size < 0 || e.Size > maxSize || (e.Size > 0 && e.Mode&0o170000 != TypeRegular) {
		return w.fail(fmt.Errorf("a cpio entry %q of %d bytes is not possible", e.Name, e.Size))
	}
	w.inode++
	return w.header(e, w.inode)
}

// header writes the fixed part (fields in the order of the format: inode, mode, uid, gid, links, mtime, size, device,
// special device, length of the name, checksum) with the name and its padding.
func (w *Writer) header(e Entry, inode uint32) error {
	links := 1
	if e.Mode&0o170000 == TypeDir {
		links = 2
	}
	text := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00", inode, e.Mode, 0, 0, links, 0,
		e.Size, 0, 0, e.Major, e.Minor, len(e.Name)+1, 0, e.Name)
	text += strings.Repeat("\x00", pad(int64(len(text))))
	if _, err := io.WriteString(w.out, text); err != nil {
		return w.fail(err)
	}
	w.pending, w.padding = e.Size, pad(e.Size)
	return nil
}

// Write adds bytes to the current file.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.pending {
		return 0, w.fail(fmt.Errorf("a cpio entry got more bytes than its size"))
	}
	n, err := w.out.Write(p)
	w.pending -= int64(n)
	if err != nil {
		return n, w.fail(err)
	}
	return n, nil
}

// Close ends the archive; it does not close the underlying writer.
func (w *Writer) Close() error {
	if err := w.finish(); err != nil {
		return err
	}
	if err := w.header(Entry{Name: trailer}, 0); err != nil {
		return err
	}
	w.err = fmt.Errorf("the cpio archive is closed")
	return nil
}

func (w *Writer) finish() error {
	if w.err != nil {
		return w.err
	}
	if w.pending > 0 {
		return w.fail(fmt.Errorf("a cpio entry lacks %d bytes of its size", w.pending))
	}
	if _, err := w.out.Write(make([]byte, w.padding)); err != nil {
		return w.fail(err)
	}
	w.padding = 0
	return nil
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

func pad(n int64) int { return int(-n & 3) }

// ArchiveSize returns how long an archive of these entries is.
func ArchiveSize(entries ...Entry) int64 {
	const header = 110
	var total int64
	for _, e := range append(entries, Entry{Name: trailer}) {
		head := header + int64(len(e.Name)) + 1
		total += head + int64(pad(head)) + e.Size + int64(pad(e.Size))
	}
	return total
}
