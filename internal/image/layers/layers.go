// Package layers merges the layers of an image into one tar stream that the ext4 writer can take as it is.
//
// The layers are read twice, if they are several. The first reading makes an index of every name: what each layer adds, hides and replaces,
// merged the way overlayfs and containerd would apply it. The second one copies the contents that are still there after
// all. Nothing is unpacked, no content is held in memory, and what comes out has each name once, parents before
// children, files before their hard links, and no name below a symbolic link.
package layers

import (
	"context"
	"errors"
	"io"

	"banger/internal/image/tarfilter"
)

// Layer is one layer's tar stream: uncompressed, gzip or zstd, told by its first bytes.
type Layer struct {
	// Open gives the stream from its start. It is called up to three times, from several goroutines for several layers,
	// and gives the same bytes each time. The first stream is read to its end, so that a cache behind it is whole; a
	// later one may be closed before that.
	Open func(ctx context.Context) (io.ReadCloser, error)
	Size int64 // of the stream as it is opened, 0 when it is not known; one beyond the limit is refused unread
}

// Options say what to do beside merging. The zero Options have no limits, and so refuse everything: see DefaultLimits.
type Options struct {
	Limits Limits
	// Rules are those of package tarfilter, applied to the merged tree. Replacements land below the symbolic links of the
	// image as any entry does.
	Rules tarfilter.Rules
	// Scratch is a directory for the contents of compressed layers between the two readings, in files without a name. With
	// "" they are decompressed twice.
	Scratch string
	// Once asks to read a single layer only once, and to write its files while it is read. A layer that overwrites itself
	// cannot be taken so: Flatten then returns ErrTwice, and the caller starts over with a new output and without Once.
	// Several layers are read as without it.
	Once bool
	// Progress is told the compressed bytes of all layers read so far, or nil. It is called from one goroutine at a time.
	Progress func(bytes int64)
}

// ErrTwice says that what was written is of no use, since the layer has to be read twice. See Options.Once.
var ErrTwice = errors.New("the layer overwrites itself, and must be read twice")

// Summary is what the image has that its user must know.
type Summary struct {
	Entries int   // of the merged tree, without its root
	Bytes   int64 // of the contents that it kept
	Read    int64 // of all layers, uncompressed
	// Init is the init program's name as it has to be called, such as "/sbin/init", and InitProgram the file that this
	// name leads to through the image's symbolic links, such as "/usr/lib/systemd/systemd". Both are "" without one.
	Init, InitProgram string
	Shell             string // "/bin/sh", or "" when the image has none
	// DroppedAttributes counts the extended attributes that were left out: those that would mean something else in a
	// guest, and access control lists that cannot be read.
	DroppedAttributes int
}
