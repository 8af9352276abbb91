package sparse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

const segment = 4 << 20

// SegmentDigest returns a SHA-256 of a file's size and, of each of its 4 MiB that has data, of the offset and of the
// SHA-256 of what DataDigest looks at in it. It tells the same files apart as DataDigest does, and is made on all
// processors.
func SegmentDigest(ctx context.Context, file *os.File) (model.Digest, error) {
	return segmentDigest(ctx, file, nil, keep)
}

// Seal is SegmentDigest, and gives back the blocks of a file that hold only zeros. The content stays the same. known are the
// sums that were made while it was written and were stopped then, or nil.
func Seal(ctx context.Context, file *os.File, known *Sums) (model.Digest, error) {
	return segmentDigest(ctx, file, known, punch)
}

// punch does nothing on a file system that cannot do it.
func punch(file *os.File, at, end int64) error {
	err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, end-at)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

func segmentDigest(ctx context.Context, file *os.File, known *Sums, empty emptied) (model.Digest, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	digests := make([][]byte, (size+segment-1)/segment)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range digests {
		group.Go(func() error {
			from := int64(i) * segment
			to := min(from+segment, size)
			digest, same, err := known.still(ctx, file, from, to, empty)
			if err != nil || same {
				digests[i] = digest
				return err
			}
			sum := sha256.New()
			found, err := addData(ctx, sum, file, from, to, empty)
			if found {
				digests[i] = sum.Sum(nil)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	all := sha256.New()
	for i, digest := range digests {
		if digest == nil {
			continue
		}
		if err := binary.Write(all, binary.BigEndian, int64(i)*segment); err != nil {
			return "", err
		}
		all.Write(digest)
	}
	if err := binary.Write(all, binary.BigEndian, size); err != nil {
		return "", err
	}
	return digestOf(all), nil
}
