package image

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/image/claim"
)

// buildsLock is held shared by whoever makes or removes a blob, and by the programs it runs, and exclusively by Sweep.
const buildsLock = "builds"

// nameLock begins the names of those locks that one asker has for what a name means.
const nameLock = "name-"

func (s *Service) locksDir() string     { return filepath.Join(s.dirs.Data, "locks") }
func (s *Service) downloadsDir() string { return filepath.Join(s.dirs.Cache, "downloads") }
func (s *Service) layersDir() string    { return filepath.Join(s.dirs.Cache, "layers") }

// lock takes the flock of a file and returns it open: closing it gives the lock up. The wait ends with ctx.
func (s *Service) lock(ctx context.Context, dir, name string, how int) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := claim.Lock(ctx, file, how); err != nil {
		return nil, err
	}
	return file, nil
}

// claimName gives the making of what a name means to one asker. The lock's file bears no name of the user's, which may
// have slashes, and is gone afterwards.
func (s *Service) claimName(ctx context.Context, name string) (*claim.Claim, error) {
	if err := os.MkdirAll(s.locksDir(), 0o700); err != nil {
		return nil, err
	}
	return claim.Take(ctx, filepath.Join(s.locksDir(), fmt.Sprintf(nameLock+"%x", sha256.Sum256([]byte(name)))))
}
