package doctor

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
)

// draftPrefix begins the names of directories in which something is being made.
const draftPrefix = ".tmp-"

// buildLeaks looks for what the making and the removing of images and kernels leaves while it goes on: drafts, marks,
// scratch directories, half layers, claims, and the programs that work on them. Whoever makes something holds the lock
// of the directory, or that of the claim.
func buildLeaks(d dirs.Dirs, r Rows) ([]model.Leak, error) {
	locks, downloads, layers := filepath.Join(d.Data, "locks"), filepath.Join(d.Cache, "downloads"), filepath.Join(d.Cache, "layers")
	var leaks []model.Leak
	others := false // another installation makes something
	for _, place := range []struct {
		lock string
		dirs []string
		ours func(dir, name string) bool
	}{
		{locks, []string{d.Images(), d.Kernels()}, func(dir, name string) bool {
			return strings.HasPrefix(name, draftPrefix) || model.Digest("sha256:"+name).Valid() && r.marked(filepath.Join(dir, name))
		}},
		{downloads, []string{downloads}, func(_, name string) bool { return name != "builds" }},
		{layers, nil, nil},
	} {
		lock := filepath.Join(place.lock, "builds")
		lockers, err := procs.Lockers(lock)
		if err != nil {
			return nil, err
		}
		strangers, err := r.strangers(d, lockers)
		if err != nil {
			return nil, err
		}
		others = others || strangers
		if len(lockers) > 0 && !strangers && len(r.Operations) == 0 {
			leaks = append(leaks, model.Leak{Kind: "lock", What: lock, Why: "is held, and no operation runs: a program has outlived its build"})
		}
		if len(lockers) > 0 {
			continue
		}
		for _, dir := range place.dirs {
			entries, err := entriesOf(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if place.ours(dir, e.Name()) {
					leaks = append(leaks, model.Leak{Kind: "directory", What: filepath.Join(dir, e.Name()), Why: "was being made or removed when something ended"})
				}
			}
		}
	}
	looks := []func(dirs.Dirs) ([]model.Leak, error){claimLeaks, verifiedLeaks}
	if len(r.Operations) == 0 && !others {
		looks = append(looks, programLeaks)
	}
	for _, look := range looks {
		found, err := look(d)
		if err != nil {
			return nil, err
		}
		leaks = append(leaks, found...)
	}
	return leaks, nil
}

// marked says whether a blob bears the mark that its row is about to be written or removed, by this installation.
func (r Rows) marked(dir string) bool {
	owner, err := os.ReadFile(filepath.Join(dir, "pending"))
	return err == nil && (r.Alone || len(owner) == 0 || string(owner) == string(r.Instance))
}

// strangers says whether a lock was taken by a process that lives and is not this installation's daemon: by another one's.
// Programs that have outlived the daemon hold a lock that a dead process took.
func (r Rows) strangers(d dirs.Dirs, lockers []procs.Locker) (bool, error) {
	daemon, err := procs.LockHolder(d.Lock())
	if err != nil || r.Alone {
		return false, err
	}
	for _, l := range lockers {
		if _, err := procs.Of(l.PID); err == nil && l.PID != daemon {
			return true, nil
		}
	}
	return false, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// claimLeaks looks for claims that nobody holds.
func claimLeaks(d dirs.Dirs) ([]model.Leak, error) {
	var leaks []model.Leak
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
			held, err := procs.LockHolder(path)
			if err != nil {
				return nil, err
			}
			if held == 0 {
				leaks = append(leaks, model.Leak{Kind: "lock", What: path, Why: "is the claim of somebody who has ended"})
			}
		}
	}
	return leaks, nil
}

func isPart(name string) bool { return strings.HasSuffix(name, ".part") }

// verifiedLeaks looks for notes about blobs that are gone.
func verifiedLeaks(d dirs.Dirs) ([]model.Leak, error) {
	dir := filepath.Join(d.Cache, "verified")
	entries, err := entriesOf(dir)
	var leaks []model.Leak
	for _, e := range entries {
		kind, hex, _ := strings.Cut(e.Name(), "-")
		if !exists(filepath.Join(d.Data, kind, hex)) {
			leaks = append(leaks, model.Leak{Kind: "file", What: filepath.Join(dir, e.Name()), Why: "is about an image or kernel that is gone"})
		}
	}
	return leaks, err
}

// programLeaks looks for programs that make something for nobody, by whoever asks while nobody makes anything: they work in
// a scratch directory or on a draft.
func programLeaks(d dirs.Dirs) ([]model.Leak, error) {
	processes, err := os.ReadDir("/proc")
	var leaks []model.Leak
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
				leaks = append(leaks, model.Leak{Kind: "process", What: p.Name(), Why: "works below " + parent + " for nobody"})
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
