package jail

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

// TestUsersJailsAreTakenAway with the VMMs in them; root's own, and what only looks like one, stay.
func TestUsersJailsAreTakenAway(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	if _, err := w.start(id, w.spec()); err != nil {
		t.Fatal(err)
	}
	idle := model.NewVMID()
	if err := w.makeDir(idle, w.uid(2)); err != nil {
		t.Fatal(err)
	}
	others := []string{"notes", "0-aaaaaaaa-aaaaaaaaaaaaaaaa", "012-aaaaaaaa-aaaaaaaaaaaaaaaa", "aaaaaaaa-aaaaaaaaaaaaaaaa", "12-aaaaaaaa-aaaaaaaaaaaaaaaa-x"}
	for _, name := range others {
		if err := os.Mkdir(filepath.Join(w.o.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	users := Users{Dir: w.o.Dir, Cgroups: w.o.Cgroups}
	if n, err := users.InUse(t.Context()); err != nil || n < 1 { // other tests' are in the same control group
		t.Errorf("%d in use, %v", n, err)
	}
	if !w.There(id) || !w.There(idle) {
		t.Error("one is not there")
	}
	if err := users.only(t, w); err != nil {
		t.Fatal(err)
	}
	if w.There(id) || w.There(idle) {
		t.Error("jails are left")
	}
	for _, name := range others {
		if err := os.Remove(filepath.Join(w.o.Dir, name)); err != nil {
			t.Errorf("%s was not left alone: %v", name, err)
		}
	}
}

// only is Release of the jails of one world: other tests have theirs in the same control group.
func (u Users) only(t *testing.T, w *world) error {
	t.Helper()
	return u.every(t.Context(), func(h *Host, v VM) error {
		if h.prefix() != w.prefix() {
			return nil
		}
		return h.Remove(t.Context(), v.ID)
	})
}

func TestUserIDs(t *testing.T) {
	t.Parallel()
	h := New(Options{Instance: "aaaaaaaa", UID: 1000})
	other := New(Options{Instance: "aaaaaaab", UID: 1000})
	seen := map[int]bool{}
	for slot := 1; slot <= MaxSlot; slot++ {
		uid, err := h.UID(slot)
		if err != nil || uid < FirstUID || uid > LastUID || seen[uid] {
			t.Fatalf("slot %d: %d, %v", slot, uid, err)
		}
		seen[uid] = true
	}
	if LastUID >= 1<<31 {
		t.Errorf("%d is no user id everywhere", LastUID)
	}
	if uid, _ := other.UID(1); seen[uid] {
		t.Errorf("two installations have %d", uid)
	}
	for _, slot := range []int{0, -1, MaxSlot + 1} {
		if uid, err := h.UID(slot); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("slot %d: %d, %v", slot, uid, err)
		}
	}
	if err := nobodys(FirstUID); err != nil {
		t.Error(err)
	}
	if err := nobodys(0); !errors.Is(err, model.ErrExists) {
		t.Errorf("root's: %v", err)
	}
}

// TestTheKernelsThreadsAreNoVMMs: KVM has one in the control group of each.
func TestTheKernelsThreadsAreNoVMMs(t *testing.T) {
	t.Parallel()
	if ofKernel(os.Getpid()) || ofKernel(1<<30) {
		t.Error("this process, or none, is taken for the kernel's")
	}
	if text, err := os.ReadFile("/proc/2/comm"); err != nil || string(text) != "kthreadd\n" {
		t.Skip("not run: the kernel's threads cannot be seen here")
	}
	if !ofKernel(2) {
		t.Error("kthreadd is no thread of the kernel's")
	}
}

func TestSubordinateIDs(t *testing.T) {
	t.Parallel()
	file := "alice:100000:65536\n\n# nothing\nbob:x:1\ncarol:2013265920:10\n"
	for id, want := range map[int]string{99999: "", 100000: "alice", 165535: "alice", 165536: "", 2013265925: "carol", 2013265930: ""} {
		if got, err := subordinate(strings.NewReader(file), id); err != nil || got != want {
			t.Errorf("%d: %q, %v", id, got, err)
		}
	}
}

// TestTwoJailsWithOneUser: the second is refused.
func TestTwoJailsWithOneUser(t *testing.T) {
	t.Parallel()
	w, first, second := newWorld(t, 12345), model.NewVMID(), model.NewVMID()
	if _, err := w.start(first, w.spec()); err != nil {
		t.Fatal(err)
	}
	if vm, err := w.start(second, w.spec()); !errors.Is(err, model.ErrExists) {
		t.Errorf("%+v, %v", vm, err)
	}
	if w.There(second) || !w.There(first) {
		t.Error("the second is there, or the first is not")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	got := limits(Spec{VCPUs: 2, MemoryBytes: 512 * model.MiB})
	for name, want := range map[string]string{"memory.max": "671088640", "pids.max": "10", "cpu.max": "300000 100000"} {
		if got[name] != want {
			t.Errorf("%s is %q", name, got[name])
		}
	}
}

// TestWhoseProgramsAreRun: root's, and nobody else's.
func TestWhoseProgramsAreRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12345)
	path := filepath.Join(w.o.Programs, Firecracker)
	if problem := w.Problem(); problem != "" {
		t.Fatal(problem)
	}
	for name, change := range map[string]func() error{
		"that all can write to":      func() error { return os.Chmod(path, 0o777) },
		"of another user":            func() error { return os.Chown(path, 12345, 0) },
		"in a directory of another":  func() error { return os.Chown(w.o.Programs, 12345, 0) },
		"where all can write":        func() error { return os.Chmod(w.o.Programs, 0o777) },
		"that a group can change":    func() error { return errors.Join(os.Chown(path, 0, 12345), os.Chmod(path, 0o775)) },
		"that is a link to anything": func() error { return errors.Join(os.Remove(path), os.Symlink("/bin/sh", path)) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if problem := w.Problem(); problem == "" {
			t.Errorf("a program %s is run", name)
		}
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o755), os.Chown(w.o.Programs, 0, 0), os.Chmod(w.o.Programs, 0o755)); err != nil {
			t.Fatal(err)
		}
		if problem := w.Problem(); problem != "" {
			t.Errorf("after %s: %s", name, problem)
		}
	}
}
