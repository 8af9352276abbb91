package daemon_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/client"
	"banger/internal/doctor"
	"banger/internal/image/imagetest"
	"banger/internal/model"
)

// TestWhatAProgramKeepsIsSweptWhenItEnds is of a bootstrap that outlives its daemon. The next daemon leaves alone what it
// works in, and takes it away once the bootstrap has ended, without being asked to do anything.
func TestWhatAProgramKeepsIsSweptWhenItEnds(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	tools, tmp := filepath.Join(h.root, "tools"), filepath.Join(h.root, "tmp")
	for _, dir := range []string{tools, tmp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	linger := filepath.Join(tools, "linger")
	if err := imagetest.WriteTools(tools); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(linger, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // whatever became of the test
		if end, err := os.OpenFile(linger, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			end.Close()
		}
	})
	env := []string{toolsVariable + "=" + tools, "TMPDIR=" + tmp}
	cmd := h.start(env...)
	op, err := h.dial().BuildImage(t.Context(), model.DefaultImage, true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = op.Wait(func(e client.Event) {
		if e.Stage == "write the image" {
			_ = cmd.Process.Kill()
		}
	})
	_ = cmd.Wait() // killed
	if err == nil {
		t.Fatal("the build was done by a dead daemon")
	}
	cmd = h.start(env...)
	kinds := map[string]bool{}
	for _, l := range h.ledger() {
		kinds[l.Kind] = true
	}
	if !kinds["lock"] || !kinds["process"] {
		t.Errorf("the ledger does not see the bootstrap: %v", kinds)
	}
	end, err := os.OpenFile(linger, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	end.Close()
	deadline := time.Now().Add(time.Minute)
	for leaks := h.ledger(); len(leaks) > 0; leaks = h.ledger() {
		if time.Now().After(deadline) {
			t.Fatalf("a minute after the bootstrap's end: %v", leaks)
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.stop(cmd)
	h.noLeaks(nil)
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("beside its directories: %v, %v", left, err)
	}
}

// ledger asks about a host without VMs.
func (h *host) ledger() []model.Leak {
	h.t.Helper()
	leaks, err := doctor.Ledger(h.t.Context(), h.dirs, h.rows(nil))
	if err != nil {
		h.t.Fatal(err)
	}
	return leaks
}
