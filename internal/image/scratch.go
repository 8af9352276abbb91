package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// scratch is an empty directory for what a build needs meanwhile.
type scratch struct {
	dir string
	// lock keeps Sweep away. The programs that work in dir inherit it: they may outlive us by a moment.
	lock  *os.File
	tools Tools
}

func (s *Service) newScratch(ctx context.Context) (scratch, error) {
	lock, err := s.lock(ctx, s.downloadsDir(), buildsLock, unix.LOCK_SH)
	if err != nil {
		return scratch{}, err
	}
	crash.At("image.scratch.before")
	dir, err := os.MkdirTemp(s.downloadsDir(), tempPrefix)
	if err != nil {
		return scratch{}, errors.Join(err, lock.Close())
	}
	crash.At("image.scratch.after")
	return scratch{dir: dir, lock: lock, tools: s.tools}, nil
}

func (w scratch) close() error {
	crash.At("image.scratch.before-removal")
	err := w.tools.removeScratch(w.dir)
	crash.At("image.scratch.removed")
	return errors.Join(err, w.lock.Close())
}

// removeScratch removes a scratch directory and the bootstrap directory that it names. It refuses when something is
// mounted below: whatever that is, it is not ours to empty.
func (t Tools) removeScratch(dir string) error {
	below, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	if len(below) > 0 {
		return model.Errorf(model.ErrState, "cannot remove %s: something is mounted at %s; run umount on it", dir, below[0].Mountpoint)
	}
	if err := t.removeBootstrapDir(filepath.Join(dir, bootstrapLink)); err != nil {
		return err // the link is how the next sweep finds it
	}
	crash.At("image.bootstrap.removed")
	return os.RemoveAll(dir)
}
