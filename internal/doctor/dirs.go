package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/model"
)

// room is what a directory's file system should have free.
type room struct{ least, enough int64 }

// What a directory must have room for, and what it soon will.
var (
	roomOfState = room{32 * model.MiB, model.GiB}       // a VM's disks as they begin, and what a guest then writes
	roomOfData  = room{512 * model.MiB, model.GiB}      // the default image and kernel, while they are made
	roomOfCache = room{64 * model.MiB, 512 * model.MiB} // an initramfs, and a pull on its way
	roomIsThere = room{0, 64 * model.MiB}               // once there are images, no more of them is needed
)

// Directories looks at the state, data and cache directories: whose they are, who else may use them, and how much room they
// have.
func Directories(d dirs.Dirs) []model.Check {
	data := roomOfData
	if images, err := os.ReadDir(d.Images()); err == nil && len(images) > 0 {
		data = roomIsThere
	}
	return []model.Check{
		directory("state", d.State, d.CheckState(), roomOfState),
		directory("data", d.Data, dirs.CheckShared(d.Data), data),
		directory("cache", d.Cache, dirs.CheckShared(d.Cache), roomOfCache),
	}
}

// directory judges one of them, of which what dirs says is err.
func directory(name, path string, err error, r room) model.Check {
	there := path
	detail := path
	if errors.Is(err, fs.ErrNotExist) {
		there, err = parent(path)
		detail += ", which the first command makes"
	}
	if err == nil {
		err = writable(there)
	}
	if err != nil {
		return model.CheckOf(name, err, "")
	}
	free, err := freeBytes(there)
	if err != nil {
		return model.CheckOf(name, err, "").AtMost(model.CheckWarning)
	}
	c := model.Check{Name: name, Status: model.CheckOK, Detail: fmt.Sprintf("%s; %s free", detail, model.FormatSize(free))}
	if free < r.enough {
		c.Status, c.Fix = model.CheckWarning, "banger image prune"
		c.Detail += fmt.Sprintf(", and %s are soon needed", model.FormatSize(r.enough))
	}
	if free < r.least {
		c.Status = model.CheckProblem
	}
	return c
}

// parent is the directory in which a missing one would be made first.
func parent(path string) (string, error) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		_, err := os.Stat(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir, err
		}
	}
}

func writable(dir string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return model.HostErrorf(err, "cannot write to %s: check its owner and mode, and that its file system is not mounted read-only", dir)
	}
	return nil
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, model.HostErrorf(err, "cannot tell how much room %s has", dir)
	}
	return int64(st.Bavail) * st.Bsize, nil
}
