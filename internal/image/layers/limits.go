package layers

import (
	"fmt"

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
	Index   int64 // bytes of names, link targets and attributes in all layers
}

// DefaultLimits are far above real images and far below what would hurt a host.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 32 * model.GiB, Ratio: 200, Entries: 2_000_000, Path: 4096, Depth: 256, Layers: 128, Index: 512 * model.MiB,
	}
}

// LimitError says which limit an image went over. It is of the kind model.ErrInvalid.
type LimitError struct {
	Limit string // its key in config.toml, below [images]: "max-entries"
	Max   int64
	What  string // what was over it: "the layers hold"
	Unit  string // "bytes"
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("cannot take the image: %s more than %d %s; if you trust it, raise %s below [images] in config.toml",
		e.What, e.Max, e.Unit, e.Limit)
}

// Unwrap gives the error its kind.
func (e *LimitError) Unwrap() error { return model.ErrInvalid }

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
