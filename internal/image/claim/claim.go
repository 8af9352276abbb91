// Package claim gives the making of a file to one of many, in any number of processes, by a lock that leaves nothing.
package claim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Claim is a file that nobody else has, under a name that vanishes with it.
type Claim struct {
	*os.File
	gone bool
}

// Take waits until the file at path is ours: it is made when it is missing, and emptied when a killed process left it.
// The wait ends with ctx. The caller ends the claim with Become or Drop.
func Take(ctx context.Context, path string) (*Claim, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := Lock(ctx, file, unix.LOCK_EX); err != nil {
			return nil, err // Lock has closed it
		}
		if isAt(file, path) {
			return &Claim{File: file}, file.Truncate(0)
		}
		file.Close() // who had it before has given its name up: what we locked is nobody's any more
	}
}

// Become makes the claimed file durable and gives it its name for good.
func (c *Claim) Become(target string) error {
	if err := c.Sync(); err != nil {
		return err
	}
	if err := os.Rename(c.Name(), target); err != nil {
		return err
	}
	c.gone = true
	return nil
}

// Drop ends the claim. A file that has not become anything is removed; a second time it does nothing.
func (c *Claim) Drop() error {
	var err error
	if !c.gone {
		c.gone = true
		err = os.Remove(c.Name()) // before the lock goes with the descriptor
	}
	if cerr := c.Close(); !errors.Is(cerr, os.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// Sweep removes the claims in dir, by the beginning of their names, that killed processes left.
func Sweep(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && e.Type().IsRegular() {
			err = errors.Join(err, sweep(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func sweep(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || !isAt(file, path) {
		return nil // somebody has it
	}
	return os.Remove(path)
}

func isAt(file *os.File, path string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(ours, there)
}

// Lock takes the flock of an open file. The wait ends with ctx; then, and after any other failure, the file is closed.
func Lock(ctx context.Context, file *os.File, how int) error {
	taken := make(chan error, 1)
	go func() { taken <- flock(file, how) }()
	select {
	case err := <-taken:
		if err != nil {
			return errors.Join(err, file.Close())
		}
		return nil
	case <-ctx.Done():
		// The wait in the kernel cannot be called off: whoever holds the lock ends it, and it is given up at once.
		go func() { _, _ = <-taken, file.Close() }()
		return model.Errorf(model.ErrCanceled, "canceled while waiting for another process that makes the same: %w", context.Cause(ctx))
	}
}

// flock blocks in the kernel. The descriptor is used raw: the file's own read lock would make a late Close wait.
func flock(file *os.File, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
