// Package claim gives the making of a file to one of many, in any number of processes, by a lock that leaves nothing.
package claim

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
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
		crash.At("image.claim.before")
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		crash.At("image.claim.after")
		giveBack := func() {
			if isAt(file, path) {
				_ = os.Remove(path) // a sweep finds it too
			}
		}
		if err := lock(ctx, file, unix.LOCK_EX, giveBack); err != nil {
			return nil, err // it is closed
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
		crash.At("image.claim.before-removal")
		err = os.Remove(c.Name()) // before the lock goes with the descriptor
		crash.At("image.claim.removed")
	}
	if cerr := c.Close(); !errors.Is(cerr, os.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// Sweep removes the claims in dir, known by their names, that killed processes left.
func Sweep(dir string, isClaim func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if isClaim(e.Name()) && e.Type().IsRegular() {
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
func Lock(ctx context.Context, file *os.File, how int) error { return lock(ctx, file, how, func() {}) }

// lock calls late when the lock comes after the wait was given up, before it is given back.
func lock(ctx context.Context, file *os.File, how int, late func()) error {
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
		go func() {
			if err := <-taken; err == nil {
				late()
			}
			file.Close()
		}()
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
