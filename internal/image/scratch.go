package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// scratch is an empty directory for what a build needs meanwhile.
type scratch struct {
	dir string
	// lock keeps Sweep away. The programs that work in dir inherit it: they may outlive us by a moment.
	lock *os.File
}

func (s *Service) newScratch(ctx context.Context) (scratch, error) {
	lock, err := s.lock(ctx, s.downloadsDir(), buildsLock, unix.LOCK_SH)
	if err != nil {
		return scratch{}, err
	}
	dir, err := os.MkdirTemp(s.downloadsDir(), tempPrefix)
	if err != nil {
		return scratch{}, errors.Join(err, lock.Close())
	}
	return scratch{dir: dir, lock: lock}, nil
}

func (w scratch) close() error {
	return errors.Join(removeScratch(w.dir), w.lock.Close())
}

// removeScratch removes a scratch directory and the bootstrap directory that it names. It refuses when something is
// mounted below: whatever that is, it is not ours to empty.
func removeScratch(dir string) error {
	below, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	if len(below) > 0 {
		return model.Errorf(model.ErrState, "cannot remove %s: something is mounted at %s; run umount on it", dir, below[0].Mountpoint)
	}
	return errors.Join(removeBootstrapDir(filepath.Join(dir, bootstrapLink)), os.RemoveAll(dir))
}
