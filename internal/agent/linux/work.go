package linux

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	workStaging = "/run/banger/work"
	workHome    = "home"           // the directory of the work disk that becomes the user's home
	workSeeded  = ".banger-seeded" // beside it: the image's own home has been copied for good

	// seedDelay keeps the wait for the disk out of the first commands' way.
	seedDelay = 5 * time.Second
)

// mountWork puts the work disk's home directory over the user's, filled the first time with what the image has there.
// The disk's top directory stays out of sight, so that its lost+found is not in the way.
func mountWork(serial, user string) error {
	account, err := lookupUser("/", user)
	if err != nil {
		return err
	}
	home := filepath.Clean(account.home)
	if home == "/" || !filepath.IsAbs(home) {
		home = "/root"
	}
	if err := mountDrive(serial, workStaging, 0); err != nil {
		return err
	}
	inside := filepath.Join(workStaging, workHome)
	if _, err := os.Lstat(filepath.Join(workStaging, workSeeded)); err != nil {
		if err := prepareHome(home, inside, account); err != nil {
			return fmt.Errorf("cannot fill the work disk: %w", err)
		}
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("cannot mount the work disk: %w", err)
	}
	if err := unix.Mount(inside, home, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot mount the work disk on %s: %w", home, err)
	}
	return nil
}

// prepareHome copies the image's home to the work disk. The mark that it is done is set later, once the copy is on the
// disk, so that no start waits for that. Until then a start copies again what is missing or empty, and nothing else: what
// a user has written in the meantime is not touched.
func prepareHome(from, to string, account account) error {
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	source, err := os.OpenRoot(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.Lchown(to, int(account.uid), int(account.gid)); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		defer source.Close()
		target, err := os.OpenRoot(to)
		if err != nil {
			return err
		}
		defer target.Close()
		if err := copyTree(source, target); err != nil {
			return err
		}
	}
	time.AfterFunc(seedDelay, markSeeded)
	return nil
}

// markSeeded sets the mark once the copy is on the disk.
func markSeeded() {
	dir, err := os.Open(workStaging)
	if err != nil {
		return // the next start copies again
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return
	}
	if mark, err := os.Create(filepath.Join(workStaging, workSeeded)); err == nil {
		mark.Close()
	}
}

// copyTree copies directories, files and links, with their owners, modes and times.
func copyTree(from, to *os.Root) error {
	return fs.WalkDir(from.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := from.Lstat(path)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s has no owner", path)
		}
		switch info.Mode().Type() {
		case fs.ModeDir:
			if err := to.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		case fs.ModeSymlink:
			target, err := from.Readlink(path)
			if err != nil {
				return err
			}
			if err := to.Symlink(target, path); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			return to.Lchown(path, int(stat.Uid), int(stat.Gid))
		case 0:
			copied, err := copyFile(from, to, path, info)
			if err != nil || !copied {
				return err
			}
		default:
			return nil // sockets and the like mean nothing in a copy
		}
		if err := to.Lchown(path, int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
		if err := to.Chmod(path, info.Mode()); err != nil {
			return err
		}
		return to.Chtimes(path, info.ModTime(), info.ModTime())
	})
}

// copyFile copies one file unless the target has something under that name already.
func copyFile(from, to *os.Root, path string, info fs.FileInfo) (bool, error) {
	if there, err := to.Lstat(path); err == nil && (there.Size() > 0 || info.Size() == 0) {
		return false, nil
	}
	in, err := from.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer in.Close()
	out, err := to.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(out, in)
	return true, errors.Join(err, out.Close())
}
