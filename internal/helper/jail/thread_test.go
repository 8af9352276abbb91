package jail

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// What a program says that tries: see spareFirstThread.
const (
	actThread    = "thread"
	exitSpared   = 30
	exitTaken    = 31
	exitNotFirst = 32
)

// TestTheFirstThreadIsSpared also when it is the one that asks, whose goroutines are the next to run on it. Only a program
// that has just begun is nearly always on it.
func TestTheFirstThreadIsSpared(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const wanted, most = 10, 100
	spared := 0
	for range most {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), actVariable+"="+actThread)
		out, err := cmd.CombinedOutput()
		switch code := cmd.ProcessState.ExitCode(); code {
		case exitSpared:
			spared++
		case exitNotFirst:
		default:
			t.Fatalf("code %d, %v: %s", code, err, out)
		}
		if spared == wanted {
			return
		}
	}
	t.Errorf("%d of %d programs asked on their first thread, want %d", spared, most, wanted)
}

// spareFirstThread asks on the thread that it is called on, which should be the process's first one.
func spareFirstThread() int {
	if unix.Gettid() != os.Getpid() {
		return exitNotFirst
	}
	want := errors.New("its own")
	taken := false
	err := onThread(func() error {
		taken = unix.Gettid() == os.Getpid()
		return want
	})
	if taken || !errors.Is(err, want) {
		return exitTaken
	}
	return exitSpared
}
