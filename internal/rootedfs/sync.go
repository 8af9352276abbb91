package rootedfs

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// SyncDir makes the names in the directory of name durable.
func (r *Root) SyncDir(name string) error {
	s, err := r.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	return s.syncDir()
}

// Sync makes everything on the root's file system durable at once, which is cheaper than many files one by one.
func (r *Root) Sync() error {
	return wrap("sync", r.name, unix.Syncfs(int(r.dir.Fd())))
}

// ChmodDir gives a directory exactly mode, whatever the umask.
func (r *Root) ChmodDir(name string, mode fs.FileMode) error {
	s, err := r.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	fd, err := retry(func() (int, error) {
		return unix.Openat(s.dir, s.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return wrap("open", name, err)
	}
	defer unix.Close(fd)
	return wrap("change the mode of", name, unix.Fchmod(fd, bits(mode)))
}

// TempName is a fresh name, without a directory, for what is written aside.
func TempName() string { return spot{path: "x"}.aside().base }
