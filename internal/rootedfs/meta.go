package rootedfs

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// xattrRecord begins the records that hold extended attributes; only those of users are taken.
const xattrRecord = "SCHILY.xattr."

// owner is who shall own an entry; nil for us.
func (x *extraction) owner(h *tar.Header) *Owner {
	if x.o.KeepOwner && h != nil {
		return &Owner{h.Uid, h.Gid}
	}
	return x.o.Owner
}

// dress gives an open file of ours its owner, mode, attributes and times, in an order in which none undoes another. What it
// has already is not set: a file system writes a record for each of these, which is most of what a small file takes.
func (x *extraction) dress(fd int, has unix.Stat_t, name string, h *tar.Header) error {
	owned := false
	if o := x.owner(h); o != nil && (int(has.Uid) != o.UID || int(has.Gid) != o.GID) {
		owned = true
		if err := unix.Fchown(fd, o.UID, o.GID); err != nil {
			return wrap("give its owner to", name, err)
		}
	}
	mode, when := fs.FileMode(0o755), []unix.Timespec(nil)
	if h != nil {
		mode, when = h.FileInfo().Mode(), timesOf(h)
		x.setXattrs(fd, h)
	}
	if !x.o.Special {
		mode = mode.Perm()
	}
	if want := bits(mode); owned || has.Mode&^unix.S_IFMT != want {
		if err := unix.Fchmod(fd, want); err != nil {
			return wrap("give its mode to", name, err)
		}
	}
	if when == nil {
		return nil
	}
	err := unix.UtimesNanoAt(fd, "", when, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // a kernel before 5.8
		err = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), when, 0)
	}
	return wrap("give its time to", name, err)
}

// asMade is what a new file of ours has. Below a stage those of one mode have the same: its directories are ours, too.
func (x *extraction) asMade(f rawFile, mode fs.FileMode) (unix.Stat_t, error) {
	if has, ok := x.plain[mode]; ok {
		return has, nil
	}
	has, err := stat(f.fd, x.root.full(f.name))
	if err == nil && x.stage != "" {
		x.plain[mode] = has
	}
	return has, err
}

func stat(fd int, name string) (unix.Stat_t, error) {
	var has unix.Stat_t
	err := unix.Fstat(fd, &has)
	return has, wrap("look at", name, err)
}

// timesOf are an entry's times, as far as they make sense.
func timesOf(h *tar.Header) []unix.Timespec {
	at := h.ModTime
	if at.Before(time.Unix(0, 0)) || at.Year() > 2400 {
		at = time.Unix(0, 0)
	}
	ts := unix.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}
	if text, ok := strings.CutPrefix(h.Uname, nanoseconds); ok {
		if ns, err := strconv.ParseUint(text, 10, 32); err == nil && ns < 1e9 {
			ts.Nsec = int64(ns)
		}
	}
	return []unix.Timespec{ts, ts}
}

// setXattrs sets the attributes of users. One that cannot be set is not worth the file.
func (x *extraction) setXattrs(fd int, h *tar.Header) {
	count := 0
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok || !strings.HasPrefix(name, "user.") {
			continue
		}
		if count++; count > maxXattrs {
			x.warnOnce("left out extended attributes: a file has more than 64")
			return
		}
		if err := unix.Fsetxattr(fd, name, []byte(h.PAXRecords[key]), 0); err != nil {
			x.warnOnce("left out extended attributes: " + err.Error())
		}
	}
}

func (x *extraction) warnOnce(line string) {
	if x.warned[line] {
		return
	}
	if x.warned == nil {
		x.warned = map[string]bool{}
	}
	x.warned[line] = true
	x.warn(line)
}

// finishDirs gives the directories that were made their owners, modes and times: the last ones first, so that one which
// may not be written to is complete by then.
func (x *extraction) finishDirs() error {
	var errs []error
	for _, name := range x.deepestFirst() {
		errs = append(errs, x.finishDir(name, x.dirs[name]))
	}
	return errors.Join(errs...)
}

func (x *extraction) deepestFirst() []string {
	return slices.SortedFunc(maps.Keys(x.dirs), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, "/"), strings.Count(a, "/")), cmp.Compare(a, b))
	})
}

func (x *extraction) finishDir(name string, h *tar.Header) error {
	s, err := x.root.at(name)
	if err != nil {
		return err
	}
	defer s.close()
	fd, err := retry(func() (int, error) {
		return unix.Openat(s.dir, s.base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return wrap("finish the directory", x.root.full(name), err)
	}
	defer unix.Close(fd)
	has, err := stat(fd, x.root.full(name))
	if err != nil {
		return err
	}
	return x.dress(fd, has, x.root.full(name), h)
}
