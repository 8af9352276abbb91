package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"banger/internal/model"
)

// The programs.
const (
	Firecracker = "firecracker"
	Jailer      = "jailer"
)

// Program is Firecracker's, as the jailer copies it.
func (h *Host) Program() string { return filepath.Join(h.o.Programs, Firecracker) }

// Problem says why there are no jails here, with what would help; "" when there are.
func (h *Host) Problem() string {
	for _, name := range []string{Firecracker, Jailer} {
		path := filepath.Join(h.o.Programs, name)
		switch err := roots(path); {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Sprintf("there is no %s; once a release of Firecracker is there: sudo banger system install --firecracker PATH", path)
		case err != nil:
			return err.Error()
		}
	}
	return h.noCgroups()
}

// roots is an error for a program that somebody other than root could change: it would be run as root.
func roots(path string) error {
	if !filepath.IsAbs(path) {
		return model.Errorf(model.ErrInvalid, "%q is no absolute path", path)
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case at == path && !info.Mode().IsRegular():
			return model.Errorf(model.ErrDenied, "%s is not a regular file", at)
		case at != path && !info.IsDir():
			return model.Errorf(model.ErrDenied, "%s is not a directory", at)
		case !ok || stat.Uid != 0:
			return model.Errorf(model.ErrDenied, "%s would be run as root, and %s is not root's", path, at)
		case info.IsDir() && info.Mode()&fs.ModeSticky != 0: // what is root's in it nobody else can replace
		case info.Mode().Perm()&0o002 != 0 || stat.Gid != 0 && info.Mode().Perm()&0o020 != 0:
			return model.Errorf(model.ErrDenied, "%s would be run as root, and others can write to %s", path, at)
		}
		if at == "/" {
			return nil
		}
	}
}

// noCgroups says what is missing of cgroups.
func (h *Host) noCgroups() string {
	there, err := os.ReadFile(filepath.Join(h.o.Cgroups, "cgroup.controllers"))
	if err != nil {
		return fmt.Sprintf("%s is no cgroup v2, whose limits a jail has", h.o.Cgroups)
	}
	for _, c := range h.o.Controllers {
		if !slices.Contains(strings.Fields(string(there)), c) {
			return fmt.Sprintf("%s has no controller %s", h.o.Cgroups, c)
		}
	}
	// The root of all has none of it. Of a child that ends, or is made anew meanwhile, nothing is seen but what it was.
	children, err := filepath.Glob(filepath.Join(h.o.Cgroups, "*", "cgroup.procs"))
	if err != nil {
		return err.Error()
	}
	lacking := false
	for _, path := range children {
		switch kills, lives := killable(filepath.Dir(path)); {
		case kills:
			return ""
		case lives:
			lacking = true
		}
	}
	if lacking {
		return "the kernel cannot end a cgroup at once; Linux 5.14 and later can"
	}
	return ""
}

// killable says whether a cgroup can be ended at once, and whether it is there at all.
func killable(cgroup string) (kills, lives bool) {
	dir, err := os.OpenRoot(cgroup)
	if err != nil {
		return false, false
	}
	defer dir.Close()
	_, kerr := dir.Lstat("cgroup.kill")
	_, perr := dir.Lstat("cgroup.procs")
	return kerr == nil, perr == nil
}
