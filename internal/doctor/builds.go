package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
)

// draftPrefix begins the names of directories in which something is being made.
const draftPrefix = ".tmp-"

// buildLeaks looks for what the making and the removing of images and kernels leaves while it goes on: drafts, marks,
// scratch directories, half layers, claims, and the programs that work on them. Whoever makes something holds the lock
// of the directory, or that of the claim.
func buildLeaks(d dirs.Dirs, r Rows) ([]Leak, error) {
	locks, downloads, layers := filepath.Join(d.Data, "locks"), filepath.Join(d.Cache, "downloads"), filepath.Join(d.Cache, "layers")
	var leaks []Leak
	for _, place := range []struct {
		lock string
		dirs []string
		ours func(dir, name string) bool
	}{
		{locks, []string{d.Images(), d.Kernels()}, func(dir, name string) bool {
			return strings.HasPrefix(name, draftPrefix) || model.Digest("sha256:"+name).Valid() && exists(filepath.Join(dir, name, "pending"))
		}},
		{downloads, []string{downloads}, func(_, name string) bool { return name != "builds" }},
		{layers, nil, nil},
	} {
		held, err := buildsLocked(place.lock)
		if err != nil {
			return nil, err
		}
		if held && len(r.Operations) == 0 {
			leaks = append(leaks, Leak{"lock", filepath.Join(place.lock, "builds"), "is held, and no operation of this installation runs: by a program that outlived its build, or by another installation's build"})
		}
		if held {
			continue
		}
		for _, dir := range place.dirs {
			entries, err := entriesOf(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if place.ours(dir, e.Name()) {
					leaks = append(leaks, Leak{"file", filepath.Join(dir, e.Name()), "was being made or removed when something ended"})
				}
			}
		}
	}
	for _, look := range []func(dirs.Dirs, Rows) ([]Leak, error){claimLeaks, verifiedLeaks, programLeaks} {
		found, err := look(d, r)
		if err != nil {
			return nil, err
		}
		leaks = append(leaks, found...)
	}
	return leaks, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// buildsLocked says whether somebody makes or removes something under the lock in dir, which many hold at once.
func buildsLocked(dir string) (bool, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "builds"), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// claimLeaks looks for claims that nobody holds.
func claimLeaks(d dirs.Dirs, _ Rows) ([]Leak, error) {
	var leaks []Leak
	for dir, isClaim := range map[string]func(name string) bool{
		filepath.Join(d.Data, "locks"):   func(name string) bool { return strings.HasPrefix(name, "name-") },
		filepath.Join(d.Cache, "layers"): isPart,
		filepath.Join(d.Cache, "initrd"): isPart,
	} {
		entries, err := entriesOf(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !isClaim(e.Name()) {
				continue
			}
			held, err := procs.Locked(path)
			if err != nil {
				return nil, err
			}
			if !held {
				leaks = append(leaks, Leak{"file", path, "is the claim of somebody who has ended"})
			}
		}
	}
	return leaks, nil
}

func isPart(name string) bool { return strings.HasSuffix(name, ".part") }

// verifiedLeaks looks for notes about blobs that are gone.
func verifiedLeaks(d dirs.Dirs, _ Rows) ([]Leak, error) {
	dir := filepath.Join(d.Cache, "verified")
	entries, err := entriesOf(dir)
	var leaks []Leak
	for _, e := range entries {
		kind, hex, _ := strings.Cut(e.Name(), "-")
		if !exists(filepath.Join(d.Data, kind, hex)) {
			leaks = append(leaks, Leak{"file", filepath.Join(dir, e.Name()), "is about an image or kernel that is gone"})
		}
	}
	return leaks, err
}

// programLeaks looks for programs that make something for nobody: they work in a scratch directory or on a draft, and
// no operation runs.
func programLeaks(d dirs.Dirs, r Rows) ([]Leak, error) {
	if len(r.Operations) > 0 {
		return nil, nil
	}
	processes, err := os.ReadDir("/proc")
	var leaks []Leak
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		dir, err := os.Readlink(filepath.Join("/proc", p.Name(), "cwd"))
		if err != nil {
			continue // another user's, or gone
		}
		argv, err := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if err != nil {
			continue
		}
		words := append(strings.Split(string(argv), "\x00"), dir)
		for _, parent := range []string{filepath.Join(d.Cache, "downloads"), d.Images(), d.Kernels()} {
			if worksBelow(words, filepath.Join(parent, draftPrefix)) {
				leaks = append(leaks, Leak{"process", p.Name(), "works below " + parent + " for nobody"})
			}
		}
	}
	return leaks, err
}

func worksBelow(words []string, prefix string) bool {
	for _, w := range words {
		if strings.HasPrefix(w, prefix) {
			return true
		}
	}
	return false
}
