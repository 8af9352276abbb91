// Package sparse handles files that are mostly holes.
package sparse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

const chunk = 64 << 10

var zeros [chunk]byte // never written

// Digest returns the SHA-256 of a file's bytes, as sha256sum would. Holes are not read, but they count: 10 GiB take some
// seconds however little they hold.
func Digest(ctx context.Context, file *os.File) (model.Digest, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = walk(ctx, file, 0, size, func(at, end int64, data []byte) error {
		if data == nil {
			return writeZeros(ctx, sum, end-at)
		}
		_, err := sum.Write(data)
		return err
	})
	if err != nil {
		return "", err
	}
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if info.Size() != size {
		return "", fmt.Errorf("%s changed while it was read", file.Name())
	}
	return digestOf(sum), nil
}

// DataDigest returns a SHA-256 of a file's size and of where it has data: of each 64 KiB that are not all zeros, their
// offset, their length and they themselves. It depends on the content alone, not on which of its zeros are holes, and
// takes as long as the data and not as the size does.
func DataDigest(ctx context.Context, file *os.File) (model.Digest, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := addData(ctx, sum, file, 0, size, keep); err != nil {
		return "", err
	}
	if err := binary.Write(sum, binary.BigEndian, [2]int64{size, 0}); err != nil {
		return "", err
	}
	return digestOf(sum), nil
}

// addData adds a part of a file to what DataDigest is the SHA-256 of, and says whether there was anything to add. Chunks
// that are not holes but zeros are handed to empty.
func addData(ctx context.Context, sum hash.Hash, file *os.File, from, to int64, empty emptied) (found bool, err error) {
	err = eachData(ctx, file, from, to, empty, func(at int64, data []byte) error {
		found = true
		return addChunk(sum, at, data)
	})
	return found, err
}

func addChunk(sum hash.Hash, at int64, data []byte) error {
	if err := binary.Write(sum, binary.BigEndian, [2]int64{at, int64(len(data))}); err != nil {
		return err
	}
	_, err := sum.Write(data)
	return err
}

// emptied is told of a chunk that holds only zeros.
type emptied func(file *os.File, at, end int64) error

// EachData visits the chunks of a file that have other data than zeros, in their order. The data is valid only during a visit.
func EachData(ctx context.Context, file *os.File, visit func(at int64, data []byte) error) error {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return eachData(ctx, file, 0, size, keep, visit)
}

// IsZero says whether data, which is no longer than a chunk of EachData's, is nothing but zeros.
func IsZero(data []byte) bool { return bytes.Equal(data, zeros[:len(data)]) }

// eachData visits the chunks with data, and tells empty of those that are zeros and no hole.
func eachData(ctx context.Context, file *os.File, from, to int64, empty emptied, visit func(at int64, data []byte) error) error {
	return walk(ctx, file, from, to, func(at, end int64, data []byte) error {
		if data == nil {
			return nil
		}
		if IsZero(data) {
			return empty(file, at, end)
		}
		return visit(at, data)
	})
}

func keep(*os.File, int64, int64) error { return nil }

func digestOf(sum hash.Hash) model.Digest {
	return model.Digest(fmt.Sprintf("sha256:%x", sum.Sum(nil)))
}

// Allocated returns what a file takes on disk, in bytes.
func Allocated(file *os.File) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil // st_blocks counts in 512 bytes on every file system (inode(7))
}

// walk visits a file from one chunk's start to another's or to the file's end, holes of whole chunks with nil data and the
// rest in whole, aligned chunks: where a chunk begins does not depend on where a hole ends.
func walk(ctx context.Context, file *os.File, at, size int64, visit func(at, end int64, data []byte) error) error {
	var buf []byte
	for at < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := file.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = size, nil // nothing but a hole up to the end
		}
		if err != nil {
			return err
		}
		if data = min(data-data%chunk, size); data > at {
			if err := visit(at, data, nil); err != nil {
				return err
			}
			at = data
			continue
		}
		if buf == nil {
			buf = make([]byte, chunk)
		}
		n := min(chunk-at%chunk, size-at)
		if _, err := file.ReadAt(buf[:n], at); err != nil {
			return err
		}
		if err := visit(at, at+n, buf[:n]); err != nil {
			return err
		}
		at += n
	}
	return nil
}

func writeZeros(ctx context.Context, sum hash.Hash, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(n, chunk)
		sum.Write(zeros[:part])
		n -= part
	}
	return nil
}
