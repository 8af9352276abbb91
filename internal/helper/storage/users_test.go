package storage

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"banger/internal/model"
	"banger/internal/testenv"
)

// TestAUsersSnapshotGoesWithTheHelper takes those of an ordinary user away, one while it is in use.
func TestAUsersSnapshotGoesWithTheHelper(t *testing.T) {
	t.Parallel()
	snapshots(t) // or skips
	const uid = 54321
	h, id := New(Options{Instance: model.NewInstanceID(), UID: uid, GID: uid, Udev: testenv.Udev{}}), model.NewVMID()
	base, cow := pair(t, t.TempDir())
	if err := errors.Join(base.Chown(uid, uid), cow.Chown(uid, uid)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Detach(context.Background(), id) }) // the test's own has ended
	find := func() (Foreign, bool) {
		t.Helper()
		all, err := Users{}.Foreign(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(all, func(f Foreign) bool { return f.ID == id })
		if at < 0 {
			return Foreign{}, false
		}
		if o := all[at].Owner; o.Instance != h.o.Instance || o.UID != uid {
			t.Errorf("it is of %+v", o)
		}
		return all[at], true
	}
	s := attached(t, h, id, base, cow)
	f, there := find()
	if !there || f.InUse {
		t.Errorf("found %+v, %t", f, there)
	}
	if seen, err := h.Visible(); err != nil || len(seen) != 1 || seen[0] != (Snapshot{ID: id, Name: s.Name, Dev: s.Dev}) {
		t.Errorf("anybody sees %+v, %v", seen, err)
	}
	if err := (Users{}).Release(t.Context(), f); err != nil {
		t.Error(err)
	}
	if f, there := find(); there {
		t.Errorf("left: %+v", f)
	}
	if err := h.Gone(t.Context(), id); err != nil {
		t.Error(err)
	}

	held := open(t, attached(t, h, id, base, cow).Node, os.O_RDONLY)
	if f, there = find(); !there || !f.InUse {
		t.Errorf("in use: found %+v, %t", f, there)
	}
	if err := (Users{}).Release(t.Context(), f); err != nil {
		t.Error(err)
	}
	if _, err := held.ReadAt(make([]byte, 512), 0); err != nil {
		t.Errorf("whoever has it open cannot read it any more: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.Gone(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gone, while it is in use: %v", err)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = held.Close() })
	if err := h.Gone(t.Context(), id); err != nil {
		t.Error(err)
	}
	if f, there := find(); there {
		t.Errorf("left: %+v", f)
	}
}
