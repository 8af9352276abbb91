package procs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// TryLock opens the file at path, making it when it is missing, and takes its exclusive lock. The lock belongs to the
// open file: it is free when the last descriptor of it is closed, those that children inherited included. It is
// ErrUnavailable while another holds it. The file is never unlinked by those who lock it, or two could hold two locks
// of one name.
func TryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock: %w", err)
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = model.Errorf(model.ErrUnavailable, "cannot lock %s: another process holds it", path)
	} else if err != nil {
		err = fmt.Errorf("cannot lock %s: %w", path, err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Locked says whether somebody holds the exclusive lock on the file at path; a missing file is not locked. For the
// moment of the test the lock is taken shared: tests do not disturb each other, but a TryLock at that very moment fails,
// so that callers keep the two apart.
func Locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot open the lock: %w", err)
	}
	defer f.Close()
	err = flock(f, unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot test the lock on %s: %w", path, err)
	}
	return false, nil
}

func flock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	if err := raw.Control(func(fd uintptr) {
		for {
			locked = unix.Flock(int(fd), how)
			if !errors.Is(locked, unix.EINTR) {
				return
			}
		}
	}); err != nil {
		return err
	}
	return locked
}
