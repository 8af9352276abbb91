//go:build crash

package firecracker

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/crash/crashtest"
	"banger/internal/testenv"
)

// kinds are those of the worlds in which a VM's life passes a point.
func kinds(point string) []string {
	step := point[:strings.LastIndex(point, ".")]
	switch {
	case step == "process.start":
		return []string{unjailed}
	case step == "process.kill", step == "firecracker.fifo", step == "firecracker.instruct", step == "firecracker.remove":
		return []string{unjailed, jailed}
	case step == "firecracker.copy":
		return []string{unstocked}
	case strings.HasPrefix(point, "firecracker."):
		return []string{jailed}
	}
	return nil
}

// TestKilledAtAnyPoint kills a daemon each time that its VM's life passes a point: the next one takes away what is left.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	for _, point := range crashtest.Points(t, "firecracker.", "process.") {
		for _, kind := range kinds(point) {
			t.Run(point+" "+kind, func(t *testing.T) {
				t.Parallel()
				var w world
				live := func(at string) (*exec.Cmd, []byte) {
					w = newWorld(t, kind)
					return w.run(verbLive, at)
				}
				crashtest.EachTime(t, point, live, func(at string) {
					if next, out := w.run(verbSettle, ""); !next.ProcessState.Success() {
						t.Errorf("%s: %v, %s", at, next.ProcessState, out)
					}
				})
			})
		}
	}
}

func newWorld(t *testing.T, kind string) world {
	t.Helper()
	w := world{kind, testenv.QuickDir(t)}
	err := errors.Join(os.Mkdir(w.vm(), 0o700), os.Mkdir(w.jails(), 0o700))
	for _, name := range []string{fileKernel, fileInitrd} {
		err = errors.Join(err, os.WriteFile(filepath.Join(w.dir, name), []byte("the "+name), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run is a daemon's, to its end.
func (w world) run(verb, point string) (daemon *exec.Cmd, out []byte) {
	daemon = crashtest.Again(point, actVariable+"="+verb+" "+w.kind+" "+w.dir)
	out, _ = daemon.CombinedOutput()
	return daemon, out
}
