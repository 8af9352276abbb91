package tarfilter

import (
	"archive/tar"
	"fmt"
	"time"
)

// PadDir holds the padding; the finishing of the image removes it.
const PadDir = ".pad"

const (
	groupSize    = 128 << 20 // of one ext4 block group
	groupInodes  = 8192      // what mke2fs gives a group by default
	maxTimestamp = 1 << 33   // the year 2242, within what ext4 holds
)

// Blocks returns how many of the ext4 writer's blocks a content of size bytes takes.
func Blocks(size int64) int64 { return (size + blockSize - 1) / blockSize }

// Pad adds empty files to a stream of so many entries and content blocks, until there is an inode for each that mke2fs
// would have made. The ext4 writer makes only as many as there are files, and growing the file system later keeps that
// ratio.
func Pad(out *tar.Writer, entries int, blocks int64) error {
	groups := blocks*blockSize/groupSize + 1
	for i := int64(entries); i < groups*groupInodes; i++ {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/%d", PadDir, i), Mode: 0o600, ModTime: time.Unix(0, 0)}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
	}
	return nil
}

// Time keeps a time within what ext4 holds: the writer would store the years before 1970 as ones after 2378.
func Time(t time.Time) time.Time {
	if s := t.Unix(); s < 0 || s > maxTimestamp {
		return time.Unix(min(max(s, 0), maxTimestamp), 0)
	}
	return t
}
