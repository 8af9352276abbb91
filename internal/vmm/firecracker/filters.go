package firecracker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"banger/internal/model"
)

// warnUnfiltered tells the log when the VMM's threads run without system call filters, once for each program. They are never
// turned off here; a build for a C library that Firecracker ships none for has none.
func (d *Driver) warnUnfiltered(m *machine, binary, version string) {
	if _, done := d.warned.LoadOrStore(binary+" "+version, true); done {
		return
	}
	if thread := unfiltered(m.Process().PID); thread != "" {
		m.Log().Warn("Firecracker runs without system call filters; use a release build", "thread", thread)
	}
}

// unfiltered returns a thread of a process that has no filter, "" for none.
func unfiltered(pid int) string {
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil {
		return ""
	}
	for _, t := range threads {
		status, err := os.ReadFile(t)
		if err != nil {
			continue // the thread ended
		}
		if !filtered(string(status)) {
			return filepath.Dir(t)
		}
	}
	return ""
}

// CheckHost says whether the VMMs that run have their filters, where there are any: what a build has shows only then.
func (d *Driver) CheckHost(ctx context.Context) []model.Check {
	f, binary := d.features(ctx)
	if f.Version == "" {
		return nil // it is not here
	}
	return []model.Check{d.checkFilters(binary), d.checkJail(ctx)}
}

// checkJail says whether VMMs are run in jails. That none is, is fine.
func (d *Driver) checkJail(ctx context.Context) model.Check {
	c := model.Check{Name: "firecracker-jail", Status: model.CheckOK}
	if problem := d.noJail(ctx); problem != "" {
		c.Detail = "Firecracker runs as you, in no jail: " + problem
		return c
	}
	c.Detail = "each Firecracker runs in a jail, as a user of its own"
	return c
}

func (d *Driver) checkFilters(binary string) model.Check {
	c := model.Check{Name: "firecracker-filters", Status: model.CheckOK, Detail: "no Firecracker runs now, so it does not show whether this build has system call filters"}
	for _, pid := range append(running(binary), d.inJails()...) {
		if thread := unfiltered(pid); thread != "" {
			c.Status, c.Detail = model.CheckWarning, fmt.Sprintf("%s runs without system call filters, in process %d; use a release build", binary, pid)
			break
		}
		c.Detail = fmt.Sprintf("%s has system call filters", binary)
	}
	return c
}

// inJails are the processes of this installation's that run in jails, whose program only root can see.
func (d *Driver) inJails() (pids []int) {
	if d.options.Jail == nil {
		return nil
	}
	all, _ := d.options.Jail.List(context.Background()) // what cannot be seen is not looked at
	for _, v := range all {
		if v.PID != 0 {
			pids = append(pids, v.PID)
		}
	}
	return pids
}

// running are the processes that run the program at path.
func running(path string) []int {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil && exe == path {
			pids = append(pids, pid)
		}
	}
	return pids
}

// filtered says whether a thread with that /proc status has a filter (proc(5): mode 2).
func filtered(status string) bool {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			return strings.TrimSpace(value) == "2"
		}
	}
	return false
}
