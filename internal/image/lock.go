package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// buildsLock is held shared by whoever makes or removes a blob, and by the programs it runs, and exclusively by Sweep.
const buildsLock = "builds"

func (s *Service) locksDir() string     { return filepath.Join(s.dirs.Data, "locks") }
func (s *Service) downloadsDir() string { return filepath.Join(s.dirs.Cache, "downloads") }

// lock takes the flock of a file and returns it open: closing it gives the lock up. The wait ends with ctx.
func (s *Service) lock(ctx context.Context, dir, name string, how int) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	taken := make(chan error, 1)
	go func() { taken <- flock(file, how) }()
	select {
	case err := <-taken:
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return file, nil
	case <-ctx.Done():
		// The wait in the kernel cannot be called off: whoever holds the lock ends it, and it is given up at once.
		go func() { _, _ = <-taken, file.Close() }()
		return nil, model.Errorf(model.ErrCanceled, "canceled while waiting for another build of the same name: %w", context.Cause(ctx))
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
