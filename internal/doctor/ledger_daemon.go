package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/procs"
)

// daemonLeaks looks at what a daemon has beside its VMs: its socket, its scratch directory, and whether there is another
// daemon than the one that holds the lock.
func daemonLeaks(d dirs.Dirs) ([]model.Leak, error) {
	daemon, err := procs.LockHolder(d.Lock())
	if err != nil {
		return nil, err
	}
	leaks := strayDaemons(d, daemon)
	if daemon != 0 {
		return leaks, nil // what is in the directory may be its work
	}
	if _, err := os.Lstat(d.Socket()); err == nil {
		leaks = append(leaks, model.Leak{Kind: "socket", What: d.Socket(), Why: "nobody listens on it; the next daemon replaces it"})
	}
	entries, err := entriesOf(d.Scratch())
	for _, e := range entries {
		leaks = append(leaks, model.Leak{Kind: "directory", What: filepath.Join(d.Scratch(), e.Name()), Why: "was a daemon's work in progress; the next daemon removes it"})
	}
	news, nerr := filepath.Glob(d.Database() + ".new*")
	for _, path := range news {
		leaks = append(leaks, model.Leak{Kind: "file", What: path, Why: unfinished})
	}
	if err == nil {
		err = nerr
	}
	return leaks, err
}

// strayDaemons looks for processes that run this very program as this installation's daemon and are not the one with the
// lock. One that is about to begin or to end is among them for a moment.
func strayDaemons(d dirs.Dirs, daemon int) []model.Leak {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var leaks []model.Leak
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == daemon || pid == os.Getpid() {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		if err != nil || strings.TrimSuffix(exe, " (deleted)") != self || !servesVMs(e.Name(), d) {
			continue
		}
		leaks = append(leaks, model.Leak{Kind: "process", What: e.Name(), Why: "is a bangerd that does not hold this installation's lock"})
	}
	return leaks
}

// servesVMs says whether a process that runs this program does so as the daemon of an installation: it has no argument, and
// its environment names the state directory.
func servesVMs(pid string, d dirs.Dirs) bool {
	line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil || bytes.Count(line, []byte{0}) != 1 {
		return false
	}
	environment, err := os.ReadFile(filepath.Join("/proc", pid, "environ"))
	if err != nil {
		return false
	}
	theirs, err := dirs.Find(func(name string) string {
		for kv := range strings.SplitSeq(string(environment), "\x00") {
			if value, ok := strings.CutPrefix(kv, name+"="); ok {
				return value
			}
		}
		return ""
	})
	return err == nil && theirs.State == d.State
}
