package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/procs"
)

// keptVersions is how many of a thing the cache keeps: those who work on several branches go back and forth.
const keptVersions = 3

// cache is where the lab's files are kept from run to run.
func cache() (string, error) {
	dir := os.Getenv("BANGER_LAB_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(user, "banger-lab")
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// newScratch makes a directory for one lab, which is locked as long as its process lives, and removes what earlier ones
// left that were killed, and old versions of what is kept.
func newScratch(ctx context.Context, cache string) (dir string, held *os.File, err error) {
	lock, err := lockFile(ctx, filepath.Join(cache, "scratch.lock"))
	if err != nil {
		return "", nil, err
	}
	defer lock.Close()
	left, err := filepath.Glob(filepath.Join(cache, "scratch-*"))
	if err != nil {
		return "", nil, err
	}
	for _, old := range left {
		if held, err := procs.TryLock(filepath.Join(old, "lock")); err == nil {
			err = errors.Join(os.RemoveAll(old), held.Close())
			if err != nil {
				return "", nil, err
			}
		}
	}
	for _, pattern := range []string{"system-*", "images-*.ext4"} {
		if err := removeOld(filepath.Join(cache, pattern), keptVersions); err != nil {
			return "", nil, err
		}
	}
	if dir, err = os.MkdirTemp(cache, "scratch-"); err != nil {
		return "", nil, err
	}
	held, err = procs.TryLock(filepath.Join(dir, "lock"))
	return dir, held, err
}

// removeOld removes all but the newest of what a pattern finds. A lab that runs holds its files open.
func removeOld(pattern string, keep int) error {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	changed := map[string]time.Time{}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil {
			changed[path] = info.ModTime()
		}
	}
	slices.SortFunc(found, func(a, b string) int { return changed[b].Compare(changed[a]) })
	var errs []error
	for _, path := range found[min(keep, len(found)):] {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// lockFile takes a lock; the file's closing gives it back.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- unix.Flock(int(file.Fd()), unix.LOCK_EX) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the process ends soon, and the wait with it
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
