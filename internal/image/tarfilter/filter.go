// Package tarfilter cleans a tar stream on its way to the ext4 writer.
//
// The stream is read once and nothing is unpacked: what the writer would refuse, misread or blindly obey is mended,
// dropped or refused here. A stream that overwrites itself (a file twice, a file below a symlink) is refused, since to
// decide which one counts needs the whole of it.
package tarfilter

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

const (
	maxName   = 255  // of one path component, the file system's limit
	blockSize = 4096 // of the ext4 writer, and the limit of a link's target
)

// Limits cap what a stream may ask for. All are required.
type Limits struct {
	Bytes   int64 // of all contents together
	Entries int
	Path    int // length of a name
	Depth   int // components of a name
}

// File is a file that replaces what the stream has under its name, or is added to it.
type File struct {
	Name    string // clean and relative: "etc/machine-id"
	Dir     bool   // a directory
	Link    string // target, for a symbolic link
	Content string // of a regular file, which it is otherwise
}

// Rules say what to change. The zero Rules change nothing.
type Rules struct {
	Drop    func(name string) bool // leaves the entry out; what lies below a dropped directory is asked for by itself
	Replace []File
}

// Summary is what passed.
type Summary struct {
	Entries int
	Bytes   int64
}

type filter struct {
	out      *tar.Writer
	limits   Limits
	rules    Rules
	replaced map[string]bool
	kinds    map[string]byte // what each name is, implied parents included
	sum      Summary
}

// Copy reads in to its end and writes the cleaned stream to out. progress, which may be nil, is told the bytes so far.
func Copy(out io.Writer, in io.Reader, limits Limits, rules Rules, progress func(bytes int64)) (Summary, error) {
	f := &filter{
		out: tar.NewWriter(out), limits: limits, rules: rules,
		replaced: map[string]bool{}, kinds: map[string]byte{".": tar.TypeDir},
	}
	for _, r := range rules.Replace {
		f.replaced[r.Name] = true
	}
	entries := tar.NewReader(in)
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return f.sum, fmt.Errorf("the tar stream is broken after %d entries: %w", f.sum.Entries, err)
		}
		if err := f.entry(h, entries); err != nil {
			return f.sum, err
		}
		if progress != nil {
			progress(f.sum.Bytes)
		}
	}
	// What follows the end marker is padding; the producer must be able to write it.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return f.sum, err
	}
	return f.sum, f.end()
}

func (f *filter) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name := clean(h.Name)
	if f.replaced[name] || (f.rules.Drop != nil && f.rules.Drop(name)) {
		return nil
	}
	h, err := f.header(name, h)
	if err != nil {
		return err
	}
	return f.write(h, content)
}

func (f *filter) write(h *tar.Header, content io.Reader) error {
	f.sum.Entries++
	f.sum.Bytes += h.Size
	switch {
	case f.sum.Entries > f.limits.Entries:
		return fmt.Errorf("the tar stream has more than %d entries", f.limits.Entries)
	case f.sum.Bytes > f.limits.Bytes:
		return fmt.Errorf("the tar stream holds more than %d bytes", f.limits.Bytes)
	}
	if err := f.out.WriteHeader(h); err != nil {
		return fmt.Errorf("%q cannot be written: %w", h.Name, err)
	}
	if h.Size == 0 {
		return nil
	}
	_, err := io.Copy(f.out, content)
	return err
}

// header returns the entry to write for h, or why there is none.
func (f *filter) header(name string, h *tar.Header) (*tar.Header, error) {
	if err := f.checkName(name, h.Typeflag); err != nil {
		return nil, err
	}
	out := &tar.Header{
		Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
		ModTime: Time(h.ModTime), Format: tar.FormatPAX,
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		out.Typeflag, out.Size = tar.TypeReg, h.Size
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeChar, tar.TypeBlock:
		out.Devmajor, out.Devminor = h.Devmajor, h.Devminor
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) >= blockSize || strings.ContainsRune(h.Linkname, 0) {
			return nil, fmt.Errorf("%q is a symbolic link to an impossible name", name)
		}
		out.Linkname = h.Linkname
	case tar.TypeLink:
		out.Linkname = clean(h.Linkname)
		if kind, seen := f.kinds[out.Linkname]; !seen || kind == tar.TypeDir {
			return nil, fmt.Errorf("%q is a hard link to %q, which is not a file before it", name, out.Linkname)
		}
	default:
		return nil, fmt.Errorf("%q is of the unknown type %q", name, h.Typeflag)
	}
	if h.Uid < 0 || h.Gid < 0 {
		return nil, fmt.Errorf("%q has a negative owner", name)
	}
	var err error
	if out.Typeflag != tar.TypeLink {
		if out.PAXRecords, _, err = Attributes(out.Typeflag, h.PAXRecords); err != nil {
			return nil, fmt.Errorf("%q has %w", name, err)
		}
	}
	f.kinds[name] = out.Typeflag
	return out, nil
}

// checkName refuses names over the limits, names used before, and names below something that is no directory.
func (f *filter) checkName(name string, kind byte) error {
	parts := strings.Split(name, "/")
	if len(name) > f.limits.Path || len(parts) > f.limits.Depth || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%.80q cannot be a name in an image: at most %d bytes and %d levels are allowed", name, f.limits.Path, f.limits.Depth)
	}
	for _, p := range parts {
		if len(p) > maxName {
			return fmt.Errorf("%.80q holds a name of more than %d bytes", name, maxName)
		}
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		kind, seen := f.kinds[dir]
		if seen && kind != tar.TypeDir {
			return fmt.Errorf("%q lies below %q, which is not a directory", name, dir)
		}
		f.kinds[dir] = tar.TypeDir
	}
	// A directory may be told of again, with another owner or mode.
	if was, seen := f.kinds[name]; seen && (was != tar.TypeDir || kind != tar.TypeDir) {
		return fmt.Errorf("%q is there twice", name)
	}
	return nil
}

// end writes the replacements and the end marker.
func (f *filter) end() error {
	for _, r := range f.rules.Replace {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: r.Name, Mode: 0o644, Size: int64(len(r.Content)), ModTime: time.Unix(0, 0)}
		switch {
		case r.Dir:
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		case r.Link != "":
			h.Typeflag, h.Mode, h.Size, h.Linkname = tar.TypeSymlink, 0o777, 0, r.Link
		}
		h, err := f.header(r.Name, h)
		if err != nil {
			return err
		}
		if err := f.write(h, strings.NewReader(r.Content)); err != nil {
			return err
		}
	}
	return f.out.Close()
}

// clean makes a name relative to the root, with nothing above it: "." for the root itself.
func clean(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name != "" {
		return name
	}
	return "."
}
