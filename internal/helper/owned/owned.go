// Package owned checks the descriptors that an ordinary user hands to who is root.
package owned

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// stalling are the file systems of which an ordinary user can make one that never answers: a program of his serves it, or
// what lies below it in a namespace of his. Whoever reads a file there, or a device over it, udev to begin with, would wait
// for ever.
var stalling = []int64{unix.FUSE_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC}

// Check refuses a file that is not uid's, of that kind (unix.S_IFREG, unix.S_IFIFO) and open in just that way, one of
// unix.O_RDONLY and unix.O_RDWR: so nobody gets at more through us than through the descriptor.
//
// A file system without any blocks is no place for it: memory without a name is in one (memfd_create, memfd_secret, pipe), and so
// are files that are settings, processes or another's memory (in /proc, /sys, or by a pidfd), which call themselves regular.
func Check(f *os.File, uid int, kind uint32, access int) (stat unix.Stat_t, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return stat, err
	}
	var flags int
	var system unix.Statfs_t
	cerr := conn.Control(func(fd uintptr) {
		if err = unix.Fstat(int(fd), &stat); err == nil {
			flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0)
		}
		if err == nil {
			err = unix.Fstatfs(int(fd), &system)
		}
	})
	switch {
	case cerr != nil:
		return stat, cerr
	case err != nil:
		return stat, err
	case stat.Mode&unix.S_IFMT != kind:
		return stat, model.Errorf(model.ErrInvalid, "it is not %s", kindName(kind))
	case int(stat.Uid) != uid:
		return stat, model.Errorf(model.ErrDenied, "it belongs to the user %d, not to %d", stat.Uid, uid)
	case uid != 0 && slices.Contains(stalling, system.Type):
		return stat, model.Errorf(model.ErrInvalid, "it is in a file system whose user may have to answer for it (FUSE or overlayfs)")
	case system.Blocks == 0:
		return stat, model.Errorf(model.ErrInvalid, "it is in no file system that keeps files: it is memory, or the kernel's")
	case flags&(unix.O_ACCMODE|unix.O_PATH|unix.O_APPEND) != access:
		return stat, model.Errorf(model.ErrInvalid, "it is open in the wrong way (flags %#x)", flags)
	}
	return stat, nil
}

func kindName(kind uint32) string {
	if kind == unix.S_IFIFO {
		return "a FIFO"
	}
	return "a regular file"
}
