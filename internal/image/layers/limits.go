package layers

import (
	"fmt"
	"sync/atomic"

	"banger/internal/model"
)

// Limits cap what an image may ask for. All are required.
type Limits struct {
	Bytes   int64 // of the layers uncompressed, and of the contents of all files with their holes filled
	Ratio   int64 // of a layer's uncompressed to its compressed bytes
	Entries int   // of all layers together, directories that they imply included
	Path    int   // bytes of a name
	Depth   int   // components of a name
	Layers  int
	Index   int64 // bytes of names, link targets and attributes in all layers, and of the targets followed to place entries
}

// DefaultLimits are far above real images and far below what would hurt a host.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 32 * model.GiB, Ratio: 200, Entries: 2_000_000, Path: 4096, Depth: 256, Layers: 128, Index: 512 * model.MiB,
	}
}

// The keys of the limits in config.toml.
const (
	limitBytes   = "max-bytes"
	limitRatio   = "max-ratio"
	limitEntries = "max-entries"
	limitPath    = "max-path"
	limitDepth   = "max-depth"
	limitLayers  = "max-layers"
	limitIndex   = "max-index"
)

// LimitError says which limit an image went over. It is of the kind model.ErrInvalid.
type LimitError struct {
	Limit string // its key in config.toml, below [images]: "max-entries"
	Max   int64
	What  string // "the layers have more than 2000000 entries"
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("cannot take the image: %s; if you trust it, raise %s below [images] in config.toml", e.What, e.Limit)
}

// Unwrap gives the error its kind.
func (e *LimitError) Unwrap() error { return model.ErrInvalid }

func overLimit(key string, limit int64, format string, args ...any) error {
	return &LimitError{Limit: key, Max: limit, What: fmt.Sprintf(format, args...)}
}

// ratioFloor is how much a layer may hold however well it is compressed: a few zeros are in many honest layers.
const ratioFloor = 16 * model.MiB

// budget counts what all layers of an image have taken of its limits. Layers are read at the same time.
type budget struct {
	limits                                    Limits
	stream, content, entries, index, followed atomic.Int64
}

// read counts bytes of a layer's uncompressed stream.
func (b *budget) read(n int64) error {
	if b.stream.Add(n) > b.limits.Bytes {
		return overLimit(limitBytes, b.limits.Bytes, "its layers are larger than %d bytes uncompressed", b.limits.Bytes)
	}
	return nil
}

// file counts the size that a file has once its holes are filled.
func (b *budget) file(size int64) error {
	if size > b.limits.Bytes || b.content.Add(size) > b.limits.Bytes {
		return overLimit(limitBytes, b.limits.Bytes, "its files hold more than %d bytes", b.limits.Bytes)
	}
	return nil
}

// entry counts one entry, or a directory that one implies, with so many bytes of text to remember.
func (b *budget) entry(text int) error {
	if b.entries.Add(1) > int64(b.limits.Entries) {
		return overLimit(limitEntries, int64(b.limits.Entries), "its layers have more than %d entries", b.limits.Entries)
	}
	if b.index.Add(int64(text)) > b.limits.Index {
		return overLimit(limitIndex, b.limits.Index, "the names in its layers take more than %d bytes", b.limits.Index)
	}
	return nil
}

// follow counts a symbolic link on the way to an entry: a few thousand long ones, each on the way to many entries, would
// keep the host busy for hours.
func (b *budget) follow(target string) error {
	if b.followed.Add(int64(len(target))) > b.limits.Index {
		return overLimit(limitIndex, b.limits.Index, "its entries lie below symbolic links to more than %d bytes of names", b.limits.Index)
	}
	return nil
}
