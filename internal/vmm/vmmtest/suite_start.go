package vmmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// failedStart breaks one thing at a time; nothing may be left.
func (s suite) failedStart(t *testing.T) {
	for _, fault := range []struct {
		name  string
		kind  error // or nil for any
		spoil func(t *testing.T, c *vmm.Config)
	}{
		{"no kernel", model.ErrNotFound, func(t *testing.T, c *vmm.Config) { c.Kernel = filepath.Join(c.Dir, "absent") }},
		{"no initramfs", model.ErrNotFound, func(t *testing.T, c *vmm.Config) { c.Initrd = filepath.Join(c.Dir, "absent") }},
		{"no drive", model.ErrNotFound, func(t *testing.T, c *vmm.Config) {
			c.Drives = append(c.Drives, model.Drive{Path: filepath.Join(c.Dir, "absent"), Format: "raw", Serial: "absent"})
		}},
		{"no directory", nil, func(t *testing.T, c *vmm.Config) { c.Dir = filepath.Join(c.Dir, "absent") }},
		{"no id", model.ErrInvalid, func(t *testing.T, c *vmm.Config) { c.ID = "a,b" }},
		{"no processor", model.ErrInvalid, func(t *testing.T, c *vmm.Config) { c.VCPUs = 0 }},
		{"no memory", model.ErrInvalid, func(t *testing.T, c *vmm.Config) { c.MemoryBytes = 1 }},
		{"unwritable directory", nil, func(t *testing.T, c *vmm.Config) {
			if os.Geteuid() == 0 {
				t.Skip("not run: root may write everywhere")
			}
			if err := os.Chmod(c.Dir, 0o500); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(c.Dir, 0o700) })
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			c := s.config(t, t.TempDir())
			dir := c.Dir
			lock, err := procs.TryLock(filepath.Join(dir, vmm.LockName))
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			c.Lock = lock
			fault.spoil(t, &c)
			m, err := s.New(t).Start(t.Context(), c)
			if err == nil {
				t.Fatal("it started", m.Kill(t.Context()), m.Close())
			}
			if fault.kind != nil && !errors.Is(err, fault.kind) {
				t.Errorf("%v: of kind %v", err, model.KindOf(err))
			}
			if !strings.HasPrefix(err.Error(), "cannot ") && !errors.Is(err, model.ErrInvalid) {
				t.Errorf("the error does not say what cannot be done: %v", err)
			}
			wantOnlyLock(t, dir)
		})
	}
}

// canceledStart ends the context at ever later moments of a start.
func (s suite) canceledStart(t *testing.T) {
	d := s.New(t)
	d.Features(t.Context()) // probed: the start itself is what is cut short
	late := false
	for delay := time.Duration(0); delay < time.Minute && !late; delay = delay*3/2 + time.Millisecond {
		c := s.config(t, t.TempDir())
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		m, err := startLocked(ctx, d, c)
		cancel()
		if err == nil {
			late = true
			// The context bounded the call, not the VMM's life.
			if !procs.Alive(m.Process()) {
				t.Error("the VMM died with the context of its start")
			}
			if err := errors.Join(m.Kill(t.Context()), m.Close()); err != nil {
				t.Error(err)
			}
			continue
		}
		if held, lockErr := procs.Locked(filepath.Join(c.Dir, vmm.LockName)); held || lockErr != nil {
			t.Errorf("canceled after %v: a VMM lives (%v)", delay, lockErr)
		}
		wantOnlyLock(t, c.Dir)
	}
	if !late {
		t.Error("no start came through")
	}
}

// leaks starts and kills many VMs: this process must be as it was before.
func (s suite) leaks(t *testing.T) {
	round := func() {
		c := s.config(t, t.TempDir())
		d := s.New(t)
		m, err := startLocked(t.Context(), d, c)
		if err != nil {
			t.Fatal(err)
		}
		hint := model.Handles{VMM: m.Process()}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if m, err = s.New(t).Find(t.Context(), c.ID, c.Dir, hint); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(m.Kill(t.Context()), m.Close(), d.Remove(t.Context(), c.ID, c.Dir, hint)); err != nil {
			t.Error(err)
		}
		wantOnlyLock(t, c.Dir)
	}
	round() // what is opened once and for all is open now
	before := census(t)
	for range s.Rounds {
		round()
	}
	// The collection of a child and the end of a goroutine follow the death that was waited for.
	// Those of the first round may have been counted above: fewer are no leak.
	var after holdings
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if after = census(t); after.within(before) {
			return
		}
	}
	t.Errorf("%d rounds leaked: %s before, %s after", s.Rounds, before, after)
}

// holdings are what a process has.
type holdings struct{ descriptors, goroutines, children int }

func (h holdings) within(most holdings) bool {
	return h.descriptors <= most.descriptors && h.goroutines <= most.goroutines && h.children <= most.children
}

func (h holdings) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d children", h.descriptors, h.goroutines, h.children)
}

// census counts what this process holds.
func census(t *testing.T) holdings {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return holdings{len(fds), runtime.NumGoroutine(), children(t)}
}

// children counts this process's children, the dead ones that it has not collected included.
func children(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range tasks {
		raw, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // a thread that has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		n += len(strings.Fields(string(raw)))
	}
	return n
}
