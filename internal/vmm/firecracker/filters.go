package firecracker

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// checkFilters tells the log when the VMM's threads run without system call filters. They are never turned off here; a
// build for a C library that Firecracker ships none for has none.
func (m *machine) checkFilters() {
	pid := strconv.Itoa(m.Process().PID)
	threads, err := filepath.Glob("/proc/" + pid + "/task/*/status")
	if err != nil {
		return
	}
	for _, t := range threads {
		status, err := os.ReadFile(t)
		if err != nil {
			continue // the thread ended
		}
		if !filtered(string(status)) {
			m.Log().Warn("Firecracker runs without system call filters; use a release build", "thread", filepath.Dir(t))
			return
		}
	}
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
