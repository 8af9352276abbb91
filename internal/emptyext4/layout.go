package emptyext4

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"banger/internal/image/sparse"
	"banger/internal/model"
)

const (
	// maxLayout is how much of one size is kept in memory: room for that of 100 GiB.
	maxLayout = 2 * model.MiB
	// maxLayouts is of how many sizes: hosts use two or three.
	maxLayouts = 4
)

// layout is the blocks of an empty file system that are not zeros.
type layout []run

// run is some such blocks in a row.
type run struct {
	at   int64
	data []byte
}

// layouts are those of the sizes made last.
type layouts struct {
	mu sync.Mutex
	of map[int64]layout // nil is one that is too large to be kept
}

// kept is what this process has made before.
var kept = layouts{of: map[int64]layout{}}

// write makes an empty file system of file, a hole of size bytes, by format when the layout of that size is not known.
func (l *layouts) write(ctx context.Context, file *os.File, size int64, format func() error) error {
	l.mu.Lock()
	known, tried := l.of[size]
	l.mu.Unlock()
	if known != nil {
		return known.write(file)
	}
	if err := format(); err != nil || tried {
		return err
	}
	made, err := read(ctx, file)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.of) >= maxLayouts {
		clear(l.of)
	}
	l.of[size] = made
	return nil
}

func (l layout) write(file *os.File) error {
	for _, r := range l {
		if _, err := file.WriteAt(r.data, r.at); err != nil {
			return err
		}
	}
	return nil
}

// read returns the layout of a file system that was just made, or nil when it is too large.
func read(ctx context.Context, file *os.File) (layout, error) {
	var l layout
	total := int64(0)
	err := sparse.EachData(ctx, file, func(at int64, data []byte) error {
		for part := range slices.Chunk(data, block) {
			if !sparse.IsZero(part) {
				total += int64(len(part))
				l = l.with(at, part)
			}
			at += block
		}
		if total > maxLayout {
			return errTooLarge
		}
		return nil
	})
	if errors.Is(err, errTooLarge) {
		return nil, nil
	}
	return l, err
}

var errTooLarge = errors.New("the layout is too large")

// with is l and one more block behind it.
func (l layout) with(at int64, data []byte) layout {
	if n := len(l); n > 0 && l[n-1].at+int64(len(l[n-1].data)) == at {
		l[n-1].data = append(l[n-1].data, data...)
		return l
	}
	return append(l, run{at, slices.Clone(data)})
}
