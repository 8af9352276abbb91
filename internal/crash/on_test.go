//go:build crash

package crash

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"banger/internal/testenv"
)

const childEnv = "BANGER_CRASH_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		for range 3 {
			At("test.other")
			At("test.point")
			os.Stdout.WriteString("passed\n")
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAtKills(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		armed  string
		passed int
		killed bool
	}{
		{"", 3, false}, {"test.absent", 3, false}, {"test.point", 0, true}, {"test.point#3", 2, true}, {"test.point#4", 3, false},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"=1", Env+"="+c.armed)
		out, _ := cmd.Output()
		if got := strings.Count(string(out), "passed\n"); got != c.passed {
			t.Errorf("%q: passed %d times, want %d", c.armed, got, c.passed)
		}
		if killed := testenv.Killed(cmd); killed != c.killed {
			t.Errorf("%q: killed %v (%v), want %v", c.armed, killed, cmd.ProcessState, c.killed)
		}
	}
}
