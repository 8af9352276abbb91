package firecracker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/model"
)

// copyName is that of the copy of a file as it is now: of one that was changed it is another.
func copyName(source *os.File) (string, error) {
	info, err := source.Stat()
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return "", model.Errorf(model.ErrInvalid, "%s is not a regular file", source.Name())
	}
	state := fmt.Sprint(stat.Dev, stat.Ino, stat.Size, stat.Mtim, stat.Ctim)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(state))), nil
}

// copyOf is the name of the copy that a file is, whole, or was to become. It is "" for a file that is neither.
func copyOf(file string) (name string, whole bool) {
	name, whole = file, true
	if atomicfile.IsTemp(file) {
		name, _, _ = strings.Cut(file[1:], ".")
		whole = false
	}
	if len(name) != 2*sha256.Size || strings.Trim(name, "0123456789abcdef") != "" {
		return "", false
	}
	return name, whole
}

// lastUse is when a copy was made, or a link to it made or removed, in nanoseconds: each sets the inode's time of change.
func lastUse(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ctim.Nano()
	}
	return 0
}

func links(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Nlink)
	}
	return 0
}

// readable is the mode of what all may read who can enter its directory.
const readable = 0o644

// makeCopy makes a copy that is whole, or not there.
func makeCopy(source *os.File, path string) error {
	target, err := atomicfile.Create(path, readable)
	if err != nil {
		return err
	}
	crash.At("firecracker.stock.made")
	if err := sendFile(target.File, source); err != nil {
		return errors.Join(err, target.Abort())
	}
	crash.At("firecracker.stock.full")
	return target.Commit()
}

// copyFile makes a copy where others can make files, too.
func copyFile(source *os.File, to string) error {
	crash.At("firecracker.copy.before")
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	crash.At("firecracker.copy.made")
	err = errors.Join(sendFile(target, source), target.Chmod(readable), target.Close())
	crash.At("firecracker.copy.after")
	return err
}

// sendFile copies in the kernel, which moves each byte once; io.Copy would have it moved into this process and out again,
// between file systems. What has nothing for the kernel to send is copied so.
func sendFile(target, source *os.File) error {
	const most = 1 << 30 // of a call; what it does is less
	for {
		n, err := unix.Sendfile(int(target.Fd()), int(source.Fd()), nil, most)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EINVAL):
			_, err = io.Copy(target, source)
			return err
		case err != nil:
			return &os.PathError{Op: "sendfile", Path: target.Name(), Err: err}
		case n == 0:
			return nil
		}
	}
}
