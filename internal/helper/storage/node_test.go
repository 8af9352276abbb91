package storage

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

// TestANodeIsNobodysWhenItIsRemoved has its owner hold on to it, with nothing open that would keep the device.
func TestANodeIsNobodysWhenItIsRemoved(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	const uid = 54321
	h, id := New(Options{Instance: model.NewInstanceID(), UID: uid, GID: uid}), model.NewVMID()
	if err := h.makeNode(id, unix.Mkdev(7, 1000)); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(h.node(id), unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	var was, is unix.Stat_t
	err = errors.Join(unix.Fstat(int(held.Fd()), &was), h.removeNode(id), unix.Fstat(int(held.Fd()), &is))
	if err != nil || was.Uid != uid || was.Mode&0o777 != 0o600 || is.Uid != 0 || is.Mode&0o777 != 0 {
		t.Errorf("mode %o of %d became %o of %d, %v", was.Mode, was.Uid, is.Mode, is.Uid, err)
	}
	if err := h.removeNode(id); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := os.Lstat(h.dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", h.dir(), err)
	}
}

// jailed is a VM whose VMM runs.
type jailed struct{ pid int }

func (j *jailed) Process(model.VMID) (int, error) { return j.pid, nil }

// TestWhatAVMMMayOpenIsNotTakenAway has one that has not opened it yet.
func TestWhatAVMMMayOpenIsNotTakenAway(t *testing.T) {
	t.Parallel()
	h, id, j := snapshots(t), model.NewVMID(), &jailed{}
	h.o.Jails = j
	base, cow := pair(t, t.TempDir())
	s := attached(t, h, id, base, cow)
	j.pid = os.Getpid()
	defer func() { j.pid = 0 }()
	if err := h.Detach(t.Context(), id); !errors.Is(err, model.ErrState) {
		t.Errorf("detach: %v", err)
	}
	if again := attached(t, h, id, base, cow); again != s {
		t.Errorf("%+v became %+v", s, again)
	}
	other, changes := pair(t, t.TempDir())
	if _, err := h.Attach(t.Context(), id, other, changes); !errors.Is(err, model.ErrState) {
		t.Errorf("attach of other files: %v", err)
	}
	if again := attached(t, h, id, base, cow); again != s {
		t.Errorf("%+v became %+v", s, again)
	}
	j.pid = 0
	if err := h.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
}
