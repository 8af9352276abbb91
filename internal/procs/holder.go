package procs

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Holder finds the living process whose standard input is the lock file at path, and which so holds its lock. hints may
// be empty, stale or lies: each is believed only when it names a process of this boot that has the file. When none
// does, the processes of this user are asked. It is ErrNotFound when the lock is free.
func Holder(path string, hints ...model.Process) (*Handle, error) {
	held, err := Locked(path)
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, model.Errorf(model.ErrNotFound, "cannot find who holds %s: nobody does", path)
	}
	lock, err := fileID(path)
	if err != nil {
		return nil, err
	}
	for _, hint := range hints {
		if h, err := openHolder(hint, lock); err == nil || !errors.Is(err, model.ErrNotFound) {
			return h, err
		}
	}
	return search(path, lock)
}

// search looks at every process: with the lock held, one has it, and which one is not to be guessed.
func search(path string, lock identity) (*Handle, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !holds(pid, lock) {
			continue
		}
		p, err := Of(pid)
		if err != nil {
			continue
		}
		if h, err := openHolder(p, lock); err == nil || !errors.Is(err, model.ErrNotFound) {
			return h, err
		}
	}
	// Held by the daemon itself in the midst of a start, or released while we looked.
	return nil, model.Errorf(model.ErrNotFound, "cannot find who holds %s: no process has it as its standard input", path)
}

func openHolder(p model.Process, lock identity) (*Handle, error) {
	h, err := Open(p)
	if err != nil {
		return nil, err
	}
	// The pidfd was there first, so the process looked at is the one held, or it has ended, which Done then tells.
	if !holds(p.PID, lock) {
		h.Close()
		return nil, model.Errorf(model.ErrNotFound, "cannot adopt process %d: it does not hold the lock", p.PID)
	}
	return h, nil
}

// identity is a file's, whatever its name.
type identity struct{ dev, ino uint64 }

func fileID(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{st.Dev, st.Ino}, nil
}

func holds(pid int, lock identity) bool {
	id, err := fileID("/proc/" + strconv.Itoa(pid) + "/fd/0")
	return err == nil && id == lock
}
