package jail

import (
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// stalling are the file systems of which an ordinary user can make one that never answers: see package storage.
var stalling = []int64{unix.FUSE_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC}

// checkFile refuses a descriptor that is not of a file of the owner's of that type, open for reading and writing.
func (h *Host) checkFile(f *os.File, kind os.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var flags int
	var system unix.Statfs_t
	cerr := conn.Control(func(fd uintptr) {
		if flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0); err == nil {
			err = unix.Fstatfs(int(fd), &system)
		}
	})
	if cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() != kind:
		return model.Errorf(model.ErrInvalid, "it is of the wrong kind")
	case !ok || int(stat.Uid) != h.o.UID:
		return model.Errorf(model.ErrDenied, "it does not belong to the user %d", h.o.UID)
	case h.o.UID != 0 && slices.Contains(stalling, system.Type):
		return model.Errorf(model.ErrInvalid, "it is in a file system whose user may have to answer for it (FUSE or overlayfs)")
	case flags&(unix.O_ACCMODE|unix.O_PATH|unix.O_APPEND) != unix.O_RDWR:
		return model.Errorf(model.ErrInvalid, "it is open in the wrong way (flags %#x)", flags)
	}
	return nil
}
