//go:build crash

// Package crashtest walks the points of package crash: each test runs its own program once more, as what is killed there.
package crashtest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"banger/internal/crash"
	"banger/internal/testenv"
)

// Points are those whose names begin so, in one way or another. That there are none fails the test.
func Points(t *testing.T, prefixes ...string) []string {
	t.Helper()
	points := slices.DeleteFunc(crash.Points(), func(point string) bool {
		return !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(point, prefix) })
	})
	if len(points) == 0 {
		t.Fatalf("there are no points of %q", prefixes)
	}
	return points
}

// Again is the test's program as a process of its own, to be killed at a point, or, with "", nowhere; with more in its
// environment. The race detector ends it at once, and not after a second.
func Again(point string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), crash.Env+"="+point, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE")), env...)
	return cmd
}

// EachTime kills a process each time that it reaches a point, POINT#1, POINT#2 and on, and calls next after each. It ends when
// the process does, and succeeds, because it does not reach the point more often.
func EachTime(t *testing.T, point string, run func(at string) (process *exec.Cmd, out []byte), next func(at string)) {
	t.Helper()
	for n := 1; ; n++ {
		at := fmt.Sprintf("%s#%d", point, n)
		process, out := run(at)
		if n > 1 && process.ProcessState.Success() {
			return
		}
		if !testenv.Killed(process) {
			t.Fatalf("%s: it was not killed there: %v, %s", at, process.ProcessState, out)
		}
		next(at)
	}
}
