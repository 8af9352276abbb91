package procs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

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

// Locker is a process that took the flock of a file. It may have died meanwhile, and handed the lock on.
type Locker struct {
	PID       int
	Exclusive bool
}

// Lockers returns who has the flock of the file at path; a missing file has none. Unlike Locked it touches nothing, so that
// no lock is refused to anybody for that moment: the kernel's own list is read (proc_locks(5)).
func Lockers(path string) ([]Locker, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, err
	}
	var all []Locker
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" { // one that waits has an arrow there
			continue
		}
		device, ours := strings.CutSuffix(f[5], ":"+strconv.FormatUint(st.Ino, 10))
		pid, err := strconv.Atoi(f[4])
		if !ours || err != nil {
			continue
		}
		// Some file systems (btrfs) have other device numbers here than in stat(2): then the process is looked at.
		if device == fmt.Sprintf("%02x:%02x", unix.Major(st.Dev), unix.Minor(st.Dev)) || has(pid, identity{st.Dev, st.Ino}) {
			all = append(all, Locker{PID: pid, Exclusive: f[3] == "WRITE"})
		}
	}
	return all, nil
}

// LockHolder returns the process that took the exclusive lock of the file at path, 0 for none.
func LockHolder(path string) (pid int, err error) {
	all, err := Lockers(path)
	for _, l := range all {
		if l.Exclusive {
			return l.PID, err
		}
	}
	return 0, err
}

// has says whether a process has a file open.
func has(pid int, file identity) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if id, err := fileID(dir + "/" + e.Name()); err == nil && id == file {
			return true
		}
	}
	return false
}
