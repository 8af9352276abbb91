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

// Digest returns the SHA-256 of a file's bytes, as sha256sum would. Holes are not read, but they count: 10 GiB take some
// seconds however little they hold.
func Digest(ctx context.Context, file *os.File) (model.Digest, error) {
	sum := sha256.New()
	end, err := walk(ctx, file, func(at, end int64, data []byte) error {
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
	if info.Size() != end {
		return "", fmt.Errorf("%s changed while it was read", file.Name())
	}
	return model.Digest(fmt.Sprintf("sha256:%x", sum.Sum(nil))), nil
}

// DataDigest returns a SHA-256 of a file's size and of where it has data: of each 64 KiB that are not all zeros, their
// offset, their length and they themselves. It depends on the content alone, not on which of its zeros are holes, and
// takes as long as the data and not as the size does.
func DataDigest(ctx context.Context, file *os.File) (model.Digest, error) {
	sum := sha256.New()
	zeros := make([]byte, chunk)
	size, err := walk(ctx, file, func(at, end int64, data []byte) error {
		if data == nil || bytes.Equal(data, zeros[:len(data)]) {
			return nil
		}
		if err := binary.Write(sum, binary.BigEndian, [2]int64{at, end - at}); err != nil {
			return err
		}
		_, err := sum.Write(data)
		return err
	})
	if err != nil {
		return "", err
	}
	if err := binary.Write(sum, binary.BigEndian, [2]int64{size, 0}); err != nil {
		return "", err
	}
	return model.Digest(fmt.Sprintf("sha256:%x", sum.Sum(nil))), nil
}

// Punch gives back the blocks of a file that hold only zeros. The content stays the same. On a file system that cannot do
// it nothing happens.
func Punch(ctx context.Context, file *os.File) error {
	zeros := make([]byte, chunk)
	_, err := walk(ctx, file, func(at, end int64, data []byte) error {
		if data == nil || !bytes.Equal(data, zeros[:len(data)]) {
			return nil
		}
		return unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, end-at)
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// Allocated returns what a file takes on disk, in bytes.
func Allocated(file *os.File) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil // st_blocks counts in 512 bytes on every file system (inode(7))
}

// walk visits a file from its start to its end, holes of whole chunks with nil data and the rest in whole, aligned chunks:
// where a chunk begins does not depend on where a hole ends. It returns where the file ended.
func walk(ctx context.Context, file *os.File, visit func(at, end int64, data []byte) error) (int64, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, chunk)
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		data, err := file.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			data, err = size, nil // nothing but a hole up to the end
		}
		if err != nil {
			return at, err
		}
		if data -= data % chunk; data > at {
			if err := visit(at, data, nil); err != nil {
				return at, err
			}
			at = data
			continue
		}
		n := min(chunk-at%chunk, size-at)
		if _, err := file.ReadAt(buf[:n], at); err != nil {
			return at, err
		}
		if err := visit(at, at+n, buf[:n]); err != nil {
			return at, err
		}
		at += n
	}
	return size, nil
}

func writeZeros(ctx context.Context, sum hash.Hash, n int64) error {
	zeros := make([]byte, chunk)
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
