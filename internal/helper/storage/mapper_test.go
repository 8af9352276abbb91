package storage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

const baseBytes = 4 << 20

// snapshots is an installation of the test's own on a host that has device-mapper; its devices are gone after it.
func snapshots(t *testing.T) *Host {
	t.Helper()
	h := own(t)
	if problem := h.Problem(); problem != "" {
		t.Skipf("not run: needs snapshots: %s", problem)
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		all, err := h.List(ctx)
		for _, s := range all {
			err = errors.Join(err, h.Detach(ctx, s.ID))
		}
		if err != nil {
			t.Error(err)
		}
		if left, err := h.List(ctx); err != nil || len(left) != 0 {
			t.Errorf("left: %+v, %v", left, err)
		}
		if _, err := os.Lstat(h.dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", h.dir(), err)
		}
	})
	return h
}

// pair is a base full of b and an empty file for changes, in dir.
func pair(t *testing.T, dir string) (base, cow *os.File) {
	t.Helper()
	below, above := filepath.Join(dir, "base"), filepath.Join(dir, "cow")
	if err := errors.Join(os.WriteFile(below, bytes.Repeat([]byte("b"), baseBytes), 0o600), os.WriteFile(above, nil, 0o600),
		os.Truncate(above, COWBytes(baseBytes))); err != nil {
		t.Fatal(err)
	}
	return open(t, below, os.O_RDONLY), open(t, above, os.O_RDWR)
}

func attached(t *testing.T, h *Host, id model.VMID, base, cow *os.File) Snapshot {
	t.Helper()
	s, err := h.Attach(t.Context(), id, base, cow)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASnapshotKeepsWhatIsWritten(t *testing.T) {
	t.Parallel()
	h, id := snapshots(t), model.NewVMID()
	base, cow := pair(t, t.TempDir())
	s := attached(t, h, id, base, cow)
	if s.ID != id || s.BaseLoop == "" || s.COWLoop == "" || s.Name != h.name(id) || s.Dev == "" || s.Node != h.node(id) {
		t.Errorf("%+v is not whole", s)
	}
	info, err := os.Stat(s.Node)
	if err != nil || info.Mode() != os.ModeDevice|0o600 {
		t.Fatalf("the node is %v, %v", info, err)
	}
	if again := attached(t, h, id, base, cow); again != s {
		t.Errorf("%+v became %+v", s, again)
	}
	all := bytes.Repeat([]byte("w"), baseBytes) // every chunk: it must not overflow
	write(t, s.Node, all)
	for range 2 {
		if err := h.Detach(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	s = attached(t, h, id, base, cow)
	if got, err := os.ReadFile(s.Node); err != nil || !bytes.Equal(got, all) {
		t.Errorf("what was written is lost: %v", err)
	}
	if got, err := os.ReadFile(base.Name()); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("b"), baseBytes)) {
		t.Errorf("the base was changed: %v", err)
	}
}

func write(t *testing.T, node string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestASnapshotOfOtherFilesIsMadeAnew(t *testing.T) {
	t.Parallel()
	h, id := snapshots(t), model.NewVMID()
	base, cow := pair(t, t.TempDir())
	write(t, attached(t, h, id, base, cow).Node, []byte("first"))
	base, cow = pair(t, t.TempDir())
	s := attached(t, h, id, base, cow)
	if got, err := os.ReadFile(s.Node); err != nil || !bytes.HasPrefix(got, []byte("bbbbb")) {
		t.Errorf("got %.5q, %v", got, err)
	}
}

func TestDetachWaitsForTheLastClose(t *testing.T) {
	t.Parallel()
	h, id := snapshots(t), model.NewVMID()
	base, cow := pair(t, t.TempDir())
	held := open(t, attached(t, h, id, base, cow).Node, os.O_RDONLY)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := h.Detach(ctx, id); !errors.Is(err, model.ErrTimeout) {
		t.Errorf("while it is open: got %v, want ErrTimeout", err)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = held.Close() })
	s, err := h.Attach(t.Context(), id, base, cow) // not on what is about to go
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(s.Node); err != nil {
		t.Error(err)
	}
}

// TestAFullHost is what happens when the changes cannot be written: I/O errors, a reason at the next Attach, and no
// device left.
func TestAFullHost(t *testing.T) {
	t.Parallel()
	h, id := snapshots(t), model.NewVMID()
	base, cow := pair(t, testenv.SmallDisk(t, baseBytes+1<<20))
	s := attached(t, h, id, base, cow)
	f, err := os.OpenFile(s.Node, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(bytes.Repeat([]byte("w"), baseBytes))
	if err := errors.Join(err, f.Sync()); err == nil {
		t.Error("more was written than there is room for")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := h.List(t.Context()); err != nil || len(all) != 1 || all[0].Lost == "" || !errors.Is(all[0].Err(), model.ErrCorrupt) {
		t.Errorf("while it is there: %+v, %v", all, err)
	}
	if err := h.Detach(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Attach(t.Context(), id, base, cow); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if left, err := h.List(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// TestMappedDevicesThatAreNotOursStay has one of another installation's, one whose name alone is ours and one that is
// nobody's.
func TestMappedDevicesThatAreNotOursStay(t *testing.T) {
	t.Parallel()
	h, id := snapshots(t), model.NewVMID()
	other := snapshots(t)
	dm, err := openControl()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dm.close)
	notes := string(model.NewVMID())
	for uuid, name := range map[string]string{"NOTES-" + notes: h.name(id), "OTHER-" + notes: "notes-" + notes} {
		if err := dm.create(name, uuid); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := dm.status(uuid, false); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := dm.remove(uuid); err != nil {
				t.Error(err)
			}
		})
	}
	base, cow := pair(t, t.TempDir())
	theirs := attached(t, other, id, base, cow)
	if all, err := h.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("listed %+v, %v", all, err)
	}
	if err := h.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	base, cow = pair(t, t.TempDir())
	if _, err := h.Attach(t.Context(), id, base, cow); !errors.Is(err, model.ErrExists) {
		t.Errorf("over a name that is taken: got %v, want ErrExists", err)
	}
	// Another user may name the installation and the VM, and gets at neither.
	thief := New(Options{Instance: other.o.Instance, UID: other.o.UID + 1})
	if all, err := thief.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("another user lists %+v, %v", all, err)
	}
	if err := thief.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	if again, err := other.List(t.Context()); err != nil || len(again) != 1 || again[0] != theirs {
		t.Errorf("another installation's became %+v, %v", again, err)
	}
}

// BenchmarkAttach compares Attach and Detach with the ioctls alone.
func BenchmarkAttach(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("not run: needs root")
	}
	h, id := New(Options{Instance: model.NewInstanceID(), UID: os.Getuid(), GID: os.Getgid(), Udev: testenv.Udev{}}), model.NewVMID()
	if problem := h.Problem(); problem != "" {
		b.Skipf("not run: needs snapshots: %s", problem)
	}
	dir := b.TempDir()
	below, above := filepath.Join(dir, "base"), filepath.Join(dir, "cow")
	if err := errors.Join(os.WriteFile(below, make([]byte, baseBytes), 0o600), os.WriteFile(above, make([]byte, COWBytes(baseBytes)), 0o600)); err != nil {
		b.Fatal(err)
	}
	base, err := os.Open(below)
	cow, cerr := os.OpenFile(above, os.O_RDWR, 0)
	if err := errors.Join(err, cerr); err != nil {
		b.Fatal(err)
	}
	b.Run("product", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.Attach(b.Context(), id, base, cow); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := h.Detach(b.Context(), id); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("ioctls", func(b *testing.B) {
		dm, err := openControl()
		if err != nil {
			b.Fatal(err)
		}
		defer dm.close()
		for b.Loop() {
			if _, err := h.attach(dm, id, base, cow, baseBytes/sectorBytes); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := h.Detach(b.Context(), id); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	_ = unix.Rmdir(h.dir())
}
