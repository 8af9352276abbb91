// Package rootedfs is the one way to read or write files whose names come from somebody else.
//
// A Root is a directory. No name leads out of it, and no symbolic link below it is followed: what a guest, an archive or a
// program that swaps files meanwhile makes of the tree changes only that tree. A file takes its name once it is whole.
package rootedfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Limits of any name, whatever the caller allows.
const (
	MaxPath  = 4095
	MaxName  = 255
	MaxDepth = 256
)

// Root is a directory with what is in it. Names are relative to it and slash-separated. It is safe for concurrent use.
type Root struct {
	name string
	std  *os.Root
	dir  *os.File // the same directory
}

// Open returns the Root that is dir. The way to dir itself is the caller's: links in it are followed.
func Open(dir string) (*Root, error) {
	std, err := os.OpenRoot(dir)
	if err != nil {
		return nil, wrap("open", dir, err)
	}
	return newRoot(dir, std)
}

func newRoot(dir string, std *os.Root) (*Root, error) {
	self, err := std.Open(".")
	if err != nil {
		return nil, errors.Join(wrap("open", dir, err), std.Close())
	}
	return &Root{name: dir, std: std, dir: self}, nil
}

// Name is the directory's name, as it was opened.
func (r *Root) Name() string { return r.name }

// Close lets go of the directory.
func (r *Root) Close() error { return errors.Join(r.dir.Close(), r.std.Close()) }

// Clean returns name in its shortest form, "." for the root itself, or an ErrInvalid for one that no file below a root can
// have.
func Clean(name string) (string, error) {
	switch {
	case name == "":
		return "", model.Errorf(model.ErrInvalid, "a file without a name")
	case strings.ContainsRune(name, 0):
		return "", model.Errorf(model.ErrInvalid, "%q: a name with a NUL byte", short(name))
	case len(name) > MaxPath:
		return "", model.Errorf(model.ErrInvalid, "%q: a name of %d bytes, at most %d are possible", short(name), len(name), MaxPath)
	case strings.HasPrefix(name, "/"):
		return "", model.Errorf(model.ErrInvalid, "%q: an absolute name", short(name))
	}
	parts := strings.Split(name, "/")
	for _, part := range parts {
		switch {
		case part == "..":
			return "", model.Errorf(model.ErrInvalid, "%q: a name with ..", short(name))
		case len(part) > MaxName:
			return "", model.Errorf(model.ErrInvalid, "%q: a name with a part of %d bytes, at most %d are possible", short(name), len(part), MaxName)
		}
	}
	name = path.Clean(name)
	if strings.Count(name, "/") >= MaxDepth {
		return "", model.Errorf(model.ErrInvalid, "%q: a name more than %d directories deep", short(name), MaxDepth)
	}
	return name, nil
}

// short keeps the messages about hostile names readable.
func short(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// spot is a name in a directory that is held open.
type spot struct {
	dir  int
	base string // one component
	path string // the whole name, for messages
	ours bool   // dir is to be closed
}

func (s spot) close() {
	if s.ours {
		_ = unix.Close(s.dir)
	}
}

// at finds the directory of a name, following no link. The root itself has none.
func (r *Root) at(name string) (spot, error) {
	name, err := Clean(name)
	if err != nil {
		return spot{}, err
	}
	if name == "." {
		return spot{}, model.Errorf(model.ErrInvalid, "%q: the directory itself", name)
	}
	dir, base := path.Split(name)
	if dir == "" {
		return spot{dir: int(r.dir.Fd()), base: base, path: name}, nil
	}
	fd, err := r.openDir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return spot{}, err
	}
	return spot{dir: fd, base: base, path: name, ours: true}, nil
}

// openDir opens a directory for the calls that take one. name is clean.
func (r *Root) openDir(name string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, err := retry(func() (int, error) { return unix.Openat2(int(r.dir.Fd()), name, &how) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		fd, err = r.walkDir(name, flags) // a kernel before 5.6, or a container that does not know openat2
	}
	if err != nil {
		return -1, r.linkError(name, err)
	}
	return fd, nil
}

// walkDir is openDir without openat2.
func (r *Root) walkDir(name string, flags int) (int, error) {
	fd, err := unix.Openat(int(r.dir.Fd()), ".", flags, 0)
	for part := range strings.SplitSeq(name, "/") {
		if err != nil {
			return -1, err
		}
		parent := fd
		fd, err = retry(func() (int, error) { return unix.Openat(parent, part, flags, 0) })
		_ = unix.Close(parent)
	}
	return fd, err
}

// linkError says of a name that leads through something else than directories which part it is.
func (r *Root) linkError(name string, err error) error {
	if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
		return wrap("reach", name, err)
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, statErr := r.std.Lstat(name[:i])
		switch {
		case statErr != nil || info.IsDir():
		case info.Mode()&fs.ModeSymlink != 0:
			return model.Errorf(model.ErrInvalid, "cannot go through %q in %s: it is a symbolic link, which is not followed: %w", name[:i], r.name, err)
		default:
			return model.Errorf(model.ErrInvalid, "cannot go through %q in %s: it is a file: %w", name[:i], r.name, err)
		}
	}
	return model.Errorf(model.ErrInvalid, "cannot go through %q in %s: a part of it is no directory: %w", name, r.name, err)
}

// retry calls f again while signals interrupt it.
func retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return v, err
		}
	}
}

// wrap gives an error of the operating system its kind and a sentence.
func wrap(doing, name string, err error) error {
	if err == nil || model.KindOf(err) != nil {
		return err
	}
	var of *fs.PathError
	if errors.As(err, &of) {
		err = of.Err
	}
	name = short(name)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return model.Errorf(model.ErrNoSpace, "cannot %s %s: no space is left there: %w", doing, name, err)
	case errors.Is(err, unix.EFBIG):
		return model.Errorf(model.ErrNoSpace, "cannot %s %s: it is larger than a file may be there: %w", doing, name, err)
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrNotFound, "cannot %s %s: %w", doing, name, err)
	case errors.Is(err, fs.ErrExist):
		return model.Errorf(model.ErrExists, "cannot %s %s: %w", doing, name, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return model.Errorf(model.ErrDenied, "cannot %s %s: %w", doing, name, err)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EINVAL):
		return model.Errorf(model.ErrInvalid, "cannot %s %s: %w", doing, name, err)
	}
	return &describedError{doing + " " + name, err}
}

// describedError is an error of no kind of ours.
type describedError struct {
	what string
	err  error
}

func (e *describedError) Error() string { return "cannot " + e.what + ": " + e.err.Error() }
func (e *describedError) Unwrap() error { return e.err }

func (r *Root) full(name string) string { return filepath.Join(r.name, name) }
