package vmmtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// find adopts one VM again and again, with what a daemon may have written down of it.
func (s suite) find(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	bystander := innocent(t)
	stale := v.Process()
	stale.StartTime--
	other := v.Process()
	other.BootID = "00000000-0000-0000-0000-000000000000"
	for _, hint := range []struct {
		name string
		vmm  model.Process
	}{
		{"right", v.Process()}, {"empty", model.Process{}}, {"innocent", bystander}, {"stale", stale}, {"other boot", other},
		{"pid only", model.Process{PID: v.Process().PID}}, {"absurd", model.Process{PID: -1, StartTime: 1, BootID: "x"}},
	} {
		v.restart(model.Handles{VMM: hint.vmm})
		g := v.connect()
		v.ping(g)
		if !procs.Alive(bystander) {
			t.Fatalf("%s: an innocent process was killed", hint.name)
		}
	}
	// Nothing but the lock leads to it any more.
	entries, err := os.ReadDir(v.config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 {
			if err := os.Remove(filepath.Join(v.config.Dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	v.restart(model.Handles{VMM: bystander})
	if err := v.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-v.Done()
	v.locked(false)
	if !procs.Alive(bystander) {
		t.Error("an innocent process was killed")
	}
}

func (s suite) findNobody(t *testing.T) {
	c := s.config(t, t.TempDir())
	bystander := innocent(t)
	d := s.New(t)
	nobody := func(when string, hint model.Process) {
		t.Helper()
		if m, err := d.Find(t.Context(), c.ID, c.Dir, model.Handles{VMM: hint}); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("%s: found %v, %v", when, m, err)
		}
	}
	nobody("before the first start", model.Process{})
	nobody("with an innocent hint", bystander)
	v := s.start(t, c)
	if err := v.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	nobody("after its death", v.Process())
	nobody("after its death, with an innocent hint", bystander)
	// Somebody else, such as the daemon in the midst of a start, holds the lock.
	lock, err := procs.TryLock(filepath.Join(c.Dir, vmm.LockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	nobody("with the lock held by no VMM", bystander)
	if !procs.Alive(bystander) {
		t.Error("an innocent process was killed")
	}
}

// findStopped adopts and kills a VMM that answers nothing.
func (s suite) findStopped(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	h, err := procs.Open(v.Process())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	v.restart(model.Handles{})
	v.restart(model.Handles{VMM: v.Process()})
	if err := v.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.dead(model.ExitKilled)
}
