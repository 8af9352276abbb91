//go:build crash

package firecracker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/crash"
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
	points := 0
	for _, point := range crash.Points() {
		for _, kind := range kinds(point) {
			points++
			t.Run(point+" "+kind, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					w, at := newWorld(t, kind), fmt.Sprintf("%s#%d", point, n)
					daemon, out := w.run(verbLive, at)
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
	}
	if points == 0 {
		t.Error("there are no such points")
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

// raceVariable has the race detector end a process at once, not after a second.
const raceVariable = "GORACE=atexit_sleep_ms=0 "

// run is a daemon's, to its end.
func (w world) run(verb, point string) (daemon *exec.Cmd, out []byte) {
	daemon = exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), crash.Env+"="+point, actVariable+"="+verb+" "+w.kind+" "+w.dir, raceVariable+os.Getenv("GORACE"))
	out, _ = daemon.CombinedOutput()
	return daemon, out
}
