//go:build crash

package qemu

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"banger/internal/crash/crashtest"
	"banger/internal/testenv"
)

// TestKilledAtAnyPoint kills a daemon each time that its VM's life passes a point: the next one takes away what is left.
func TestKilledAtAnyPoint(t *testing.T) {
	testenv.NeedTool(t, program)
	t.Parallel()
	for _, point := range crashtest.Points(t, "qemu.", "process.") {
		verb := verbLive
		if strings.HasPrefix(point, "qemu.unlink.") {
			verb = verbFail
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			var w world
			run := func(at string) (*exec.Cmd, []byte) {
				w = newWorld(t)
				return w.run(verb, at)
			}
			crashtest.EachTime(t, point, run, func(at string) {
				if next, out := w.run(verbSettle, ""); !next.ProcessState.Success() {
					t.Errorf("%s: %v, %s", at, next.ProcessState, out)
				}
			})
		})
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

// run is a daemon's, to its end.
func (w world) run(verb, point string) (daemon *exec.Cmd, out []byte) {
	daemon = crashtest.Again(point, actVariable+"="+verb+" "+string(w))
	out, _ = daemon.CombinedOutput()
	return daemon, out
}
