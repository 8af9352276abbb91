package rootedfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Resolve finds what an absolute path means below root, as a process sees it whose root that is: links on the way are
// followed, and none leads out. A link at the path itself is followed when asked. real is the path without any link on
// the way.
func Resolve(root, name string, follow bool) (real string, info Info, err error) {
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := openIn(root, name, flags)
	if err != nil {
		return "", Info{}, wrap("find", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", Info{}, wrap("look at", name, err)
	}
	real, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", Info{}, wrap("find", name, err)
	}
	if root != "/" {
		whole, err := filepath.EvalSymlinks(root)
		if err != nil {
			return "", Info{}, wrap("find", root, err)
		}
		real = path.Join("/", strings.TrimPrefix(real, whole))
	}
	return real, infoOf(&st), nil
}

// OpenIn is Open for a path as Resolve takes it.
func OpenIn(root, dir string) (*Root, error) {
	fd, err := openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, wrap("open the directory", dir, err)
	}
	defer unix.Close(fd)
	std, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, wrap("open the directory", dir, err)
	}
	return newRoot(dir, std)
}

func openIn(root, name string, flags int) (int, error) {
	flags |= unix.O_CLOEXEC
	at, err := retry(func() (int, error) { return unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := retry(func() (int, error) { return unix.Openat2(at, name, &how) })
	if errors.Is(err, unix.ENOSYS) && root == "/" { // a kernel before 5.6; there is no other root to stay in
		fd, err = retry(func() (int, error) { return unix.Open(name, flags, 0) })
	}
	return fd, err
}

// Target returns what the symbolic link at a path says, as Resolve finds it.
func Target(root, name string) (string, error) {
	r, err := OpenIn(root, path.Dir(name))
	if err != nil {
		return "", err
	}
	defer r.Close()
	return r.Readlink(path.Base(name))
}
