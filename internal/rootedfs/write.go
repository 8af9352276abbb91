package rootedfs

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// CreateExcl makes a file with exactly mode, whatever the umask. That there is something of that name is an ErrExists.
func (r *Root) CreateExcl(name string, mode fs.FileMode) (*os.File, error) {
	s, err := r.at(name)
	if err != nil {
		return nil, err
	}
	defer s.close()
	f, err := s.create(private)
	if err != nil {
		return nil, err
	}
	if err := unix.Fchmod(f.fd, bits(mode)); err != nil {
		return nil, errors.Join(wrap("make", name, err), f.Close(), s.unlink())
	}
	return os.NewFile(uintptr(f.fd), s.path), nil
}

// private is the mode of a file that only we may use, for now.
const private fs.FileMode = 0o600

// create makes a file, with no more than the permissions of mode: the umask applies.
func (s spot) create(mode fs.FileMode) (rawFile, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(s.dir, s.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, bits(mode.Perm()))
	})
	if err != nil {
		return rawFile{}, wrap("make", s.path, err)
	}
	return rawFile{fd, s.path}, nil
}

// Replace gives name the content, whole and durable or not at all. A directory of that name is an ErrInvalid; a symbolic
// link is replaced, not followed.
func (r *Root) Replace(name string, mode fs.FileMode, content io.Reader) (err error) {
	s, err := r.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	aside := s.aside()
	f, err := aside.create(private)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), aside.unlink())
		}
	}()
	if _, err := io.Copy(f, content); err != nil {
		return wrap("write", name, err)
	}
	if err := unix.Fchmod(f.fd, bits(mode)); err != nil {
		return wrap("write", name, err)
	}
	if err := unix.Fsync(f.fd); err != nil {
		return wrap("write", name, err)
	}
	if err := aside.rename(s); err != nil {
		return err
	}
	return errors.Join(f.Close(), s.syncDir())
}

// tempPrefix and tempSuffix mark what is being written aside.
const (
	tempPrefix = ".banger-"
	tempSuffix = ".tmp"
)

// IsTemp says whether a name (without a directory) is one of what is written aside. After a crash that is rubbish.
func IsTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// aside is a fresh name beside s.
func (s spot) aside() spot {
	s.base = tempPrefix + rand.Text()[:16] + tempSuffix
	s.path = path.Join(path.Dir(s.path), s.base)
	s.ours = false
	return s
}

// rename gives what is at s the name of to, which may be a file's but not a directory's.
func (s spot) rename(to spot) error {
	_, err := retry(func() (struct{}, error) { return struct{}{}, unix.Renameat(s.dir, s.base, to.dir, to.base) })
	if errors.Is(err, unix.EISDIR) {
		return model.Errorf(model.ErrInvalid, "cannot replace %s: it is a directory: %w", short(to.path), err)
	}
	return wrap("name", to.path, err)
}

// Rename gives a file another name within the root, replacing a file of that name.
func (r *Root) Rename(from, to string) error {
	a, err := r.at(from)
	if err != nil {
		return err
	}
	defer a.close()
	b, err := r.at(to)
	if err != nil {
		return err
	}
	defer b.close()
	return a.rename(b)
}

func (s spot) syncDir() error {
	fd, err := retry(func() (int, error) { return unix.Openat(s.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return wrap("sync the directory of", s.path, err)
	}
	defer unix.Close(fd)
	return wrap("sync the directory of", s.path, unix.Fsync(fd))
}

// Symlink makes a symbolic link. What it says is not looked at: nothing here follows it.
func (r *Root) Symlink(target, name string) error {
	s, err := r.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	return s.symlink(target)
}

func (s spot) symlink(target string) error {
	if target == "" || len(target) > MaxPath || strings.ContainsRune(target, 0) {
		return model.Errorf(model.ErrInvalid, "cannot make the link %s: %q cannot be what a link says", short(s.path), short(target))
	}
	_, err := retry(func() (struct{}, error) { return struct{}{}, unix.Symlinkat(target, s.dir, s.base) })
	return wrap("make the link", s.path, err)
}

// MkdirAll makes a directory and those that it lies in, as far as they are missing. The umask applies.
func (r *Root) MkdirAll(name string, mode fs.FileMode) error {
	name, err := Clean(name)
	if err != nil {
		return err
	}
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' || name == "." {
			continue
		}
		if _, err := r.mkdir(name[:i], mode); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes one directory and says whether it was not there.
func (r *Root) mkdir(name string, mode fs.FileMode) (fresh bool, err error) {
	s, err := r.at(name)
	if err != nil {
		return false, err
	}
	defer s.close()
	_, err = retry(func() (struct{}, error) { return struct{}{}, unix.Mkdirat(s.dir, s.base, bits(mode)) })
	if !errors.Is(err, unix.EEXIST) {
		return err == nil, wrap("make the directory", name, err)
	}
	info, err := s.lstat()
	if err != nil {
		return false, err
	}
	if !info.Mode.IsDir() {
		return false, model.Errorf(model.ErrInvalid, "cannot make the directory %s: there is something else of that name", short(name))
	}
	return false, nil
}

// Remove removes a file or an empty directory. That there is none is success.
func (r *Root) Remove(name string) error {
	s, err := r.at(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer s.close()
	return s.unlink()
}

func (s spot) unlink() error {
	_, err := retry(func() (struct{}, error) { return struct{}{}, unix.Unlinkat(s.dir, s.base, 0) })
	if errors.Is(err, unix.EISDIR) {
		_, err = retry(func() (struct{}, error) { return struct{}{}, unix.Unlinkat(s.dir, s.base, unix.AT_REMOVEDIR) })
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrap("remove", s.path, err)
}

// RemoveAll removes what is directly in the root under this name, with all below it.
func (r *Root) RemoveAll(base string) error {
	if strings.Contains(base, "/") {
		return model.Errorf(model.ErrInvalid, "%q: not directly in %s", short(base), r.name)
	}
	return wrap("remove", base, r.std.RemoveAll(base))
}

// bits is a mode as the system calls take it.
func bits(mode fs.FileMode) uint32 {
	b := uint32(mode.Perm())
	for _, s := range special {
		if mode&s.mode != 0 {
			b |= s.bit
		}
	}
	return b
}
