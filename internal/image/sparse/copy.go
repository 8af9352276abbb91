package sparse

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Copy makes to, an empty file, the same as from. It shares the blocks where the file system can, and otherwise leaves
// holes where from has holes or zeros.
func Copy(ctx context.Context, to, from *os.File) error {
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err == nil {
		return nil
	}
	size, err := from.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	err = EachData(ctx, from, func(at int64, data []byte) error {
		_, err := to.WriteAt(data, at)
		return err
	})
	if err != nil {
		return err
	}
	return to.Truncate(size)
}
