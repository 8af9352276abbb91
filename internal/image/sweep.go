package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/atomicfile"
	"banger/internal/image/claim"
	"banger/internal/model"
)

// initrdAge is how long a cached initramfs is kept: it takes no time to make again, and every new agent needs others.
const initrdAge = 30 * 24 * time.Hour

// Sweep removes what interrupted builds and deletes left: directories being made, and blobs whose row was about to be
// written or removed and is not there. While a build runs anywhere over the same directories it leaves that part alone.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(
		s.alone(s.locksDir(), func() error { return errors.Join(s.sweepBlobs(ctx, kindImage), s.sweepBlobs(ctx, kindKernel)) }),
		s.alone(s.downloadsDir(), s.sweepDownloads),
		s.alone(s.layersDir(), s.layerCache().Sweep),
		s.sweepInitrds(),
		s.sweepCompared(),
		claim.Sweep(s.initrdDir(), func(name string) bool { return strings.HasSuffix(name, partSuffix) }),
		claim.Sweep(s.locksDir(), func(name string) bool { return strings.HasPrefix(name, nameLock) }),
	)
}

// SweepAgain sweeps what a build kept Sweep from, once that build has ended: its programs may outlive the daemon that
// began it. It waits for that, or for ctx.
func (s *Service) SweepAgain(ctx context.Context) error {
	waited := false
	for _, dir := range []string{s.locksDir(), s.downloadsDir(), s.layersDir()} {
		lock, err := openBuildsLock(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			waited = true
			if err := claim.Lock(ctx, lock, unix.LOCK_EX); err != nil {
				return err
			}
		}
		lock.Close()
	}
	if !waited {
		return nil
	}
	return s.Sweep(ctx)
}

func openBuildsLock(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, buildsLock), os.O_RDWR|unix.O_NOFOLLOW, 0)
}

// tidy sweeps on the occasion of a build, which does not depend on it.
func (s *Service) tidy(ctx context.Context) {
	if err := s.Sweep(context.WithoutCancel(ctx)); err != nil {
		s.log.Warn("cannot remove what earlier builds left", "error", err)
	}
}

// alone calls f when no build holds the lock in dir.
func (s *Service) alone(dir string, f func() error) error {
	lock, err := openBuildsLock(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever built
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	} else if err != nil {
		return err
	}
	return f()
}

func (s *Service) sweepBlobs(ctx context.Context, kind string) error {
	rows, err := s.rows(ctx, kind)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.dirs.Data, kind)
	entries, err := os.ReadDir(dir)
	errs := []error{ignoreMissing(err)}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		digest := model.Digest("sha256:" + e.Name())
		switch {
		case strings.HasPrefix(e.Name(), tempPrefix):
			errs = append(errs, os.RemoveAll(path))
		case digest.Valid():
			if owner, pending := marked(path); pending && owner == s.owner {
				_, hasRow := rows[digest]
				errs = append(errs, s.settle(kind, digest, hasRow))
			}
		}
	}
	return errors.Join(errs...)
}

// rows returns the names of all images or kernels by their digests.
func (s *Service) rows(ctx context.Context, kind string) (map[model.Digest]string, error) {
	names := map[model.Digest]string{}
	if s.catalog == nil { // only of a Check
		return names, nil
	}
	if kind == kindImage {
		all, err := s.catalog.Images(ctx)
		for _, i := range all {
			names[i.Digest] = i.Name
		}
		return names, err
	}
	all, err := s.catalog.Kernels(ctx)
	for _, k := range all {
		names[k.Digest] = k.Name
	}
	return names, err
}

func (s *Service) sweepDownloads() error {
	entries, err := os.ReadDir(s.downloadsDir())
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			errs = append(errs, s.tools.removeScratch(filepath.Join(s.downloadsDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// sweepInitrds needs no lock: an initramfs is made in moments, and again whenever it is missing. One that is being made
// has another name.
func (s *Service) sweepInitrds() error {
	entries, err := os.ReadDir(s.initrdDir())
	errs := []error{ignoreMissing(err)}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // another sweep was faster
		}
		if time.Since(info.ModTime()) > initrdAge && strings.HasSuffix(e.Name(), initrdSuffix) {
			errs = append(errs, atomicfile.Remove(filepath.Join(s.initrdDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}

// sweepCompared forgets what was known of blobs that are gone.
func (s *Service) sweepCompared() error {
	entries, err := os.ReadDir(s.comparedDir())
	errs := []error{ignoreMissing(err)}
	for _, e := range entries {
		kind, hex, _ := strings.Cut(e.Name(), "-")
		blob := filepath.Join(s.dirs.Data, kind, hex)
		if _, err := os.Lstat(blob); errors.Is(err, fs.ErrNotExist) && model.Digest("sha256:"+hex).Valid() {
			errs = append(errs, atomicfile.Remove(filepath.Join(s.comparedDir(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
