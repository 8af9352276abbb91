//go:build crash

package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"banger/internal/crash"
	"banger/internal/testenv"
)

// TestKilledAtAnyPoint kills a daemon each time that its VM's life passes a point: the next one takes away what is left.
func TestKilledAtAnyPoint(t *testing.T) {
	testenv.NeedTool(t, program)
	t.Parallel()
	points := 0
	for _, point := range crash.Points() {
		verb := verbLive
		switch {
		case strings.HasPrefix(point, "qemu.unlink."):
			verb = verbFail
		case !strings.HasPrefix(point, "qemu.") && !strings.HasPrefix(point, "process."):
			continue
		}
		points++
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				w, at := newWorld(t), fmt.Sprintf("%s#%d", point, n)
				daemon, out := w.run(verb, at)
				if daemon.ProcessState.Success() && n > 1 { // it is not reached more often
					return
				}
				if !testenv.Killed(daemon) {
					t.Fatalf("%s: it was not killed there: %v, %s", at, daemon.ProcessState, out)
				}
				if next, out := w.run(verbSettle, ""); !next.ProcessState.Success() {
					t.Errorf("%s: %v, %s", at, next.ProcessState, out)
				}
			}
		})
	}
	if points == 0 {
		t.Error("there are no such points")
	}
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world(t.TempDir())
	err := errors.Join(os.Mkdir(w.vm(), 0o700), os.WriteFile(w.kernel(), idle(), 0o600), os.WriteFile(w.broken(), []byte("no image"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// idle is a kernel in Linux's boot protocol that does nothing, for ever.
func idle() []byte {
	k := make([]byte, 8<<10)
	k[0x1f1] = 1                                    // a sector of real mode, after the first
	copy(k[0x1fe:], "\x55\xaa\xfa\xf4HdrS")         // no interrupts, halt
	copy(k[0x206:], []byte{0x0c, 0x02})             // the protocol's version
	k[0x211] = 1                                    // the rest is loaded high
	copy(k[0x22c:], []byte{0xff, 0xff, 0xff, 0x7f}) // the initramfs may be anywhere
	return k
}

// raceVariable has the race detector end a process at once, not after a second.
const raceVariable = "GORACE=atexit_sleep_ms=0 "

// run is a daemon's, to its end.
func (w world) run(verb, point string) (daemon *exec.Cmd, out []byte) {
	daemon = exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), crash.Env+"="+point, actVariable+"="+verb+" "+string(w), raceVariable+os.Getenv("GORACE"))
	out, _ = daemon.CombinedOutput()
	return daemon, out
}
