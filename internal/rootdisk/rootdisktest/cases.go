package rootdisktest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/rootdisk"
)

// mark overwrites the file's last bytes, so that its size, which drivers check, stays.
func mark(t *testing.T, path, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd) // a device tells its size in no other way
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte(text), size-int64(len(text))); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
}

func wantMark(t *testing.T, path, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil || !bytes.HasSuffix(data, []byte(text)) {
		t.Errorf("what was written to %s is lost (%v)", path, err)
	}
}

func createTwice(t *testing.T, w *world) {
	id := w.created(t)
	path := ownFile(t, w.activate(t, id))
	mark(t, path, "kept")
	w.restart(t)
	if err := w.Create(t.Context(), id, w.base); err != nil {
		t.Fatal(err)
	}
	wantMark(t, path, "kept")
	if usage, err := w.Usage(t.Context(), id); err != nil || usage.Bytes <= 0 {
		t.Errorf("usage %+v, %v", usage, err)
	}
}

func activateAfterCrash(t *testing.T, w *world) {
	id := w.created(t)
	first := w.activate(t, id)
	w.restart(t)
	second := w.activate(t, id)
	if ownFile(t, first) != ownFile(t, second) || first.Handles != second.Handles {
		t.Errorf("%+v became %+v", first, second)
	}
}

func features(t *testing.T, w *world) {
	f := w.Features(t.Context())
	if f.Format != "raw" && f.Format != "qcow2" {
		t.Errorf("no VMM knows the format %q", f.Format)
	}
	if len(f.Join.Serials()) == 0 {
		t.Errorf("no agent knows the join %d", f.Join)
	}
	if f.Problem != "" {
		t.Errorf("the suite runs, and it says that it cannot: %s", f.Problem)
	}
	// What comes of them does not depend on what was done, and a request that has ended is no problem of the host's.
	w.activate(t, w.created(t))
	w.restart(t)
	if again := w.Features(ended(t)); again != f {
		t.Errorf("%+v became %+v", f, again)
	}
}

func activateDescribes(t *testing.T, w *world) {
	f := w.Features(t.Context())
	disk := w.activate(t, w.created(t))
	var serials []string
	for _, d := range disk.Drives {
		serials = append(serials, d.Serial)
		if !filepath.IsAbs(d.Path) || d.Format != f.Format || (d.Format == "raw" && d.Backing != "") {
			t.Errorf("not a drive that a VMM can be given, or not of the format %q: %+v", f.Format, d)
		}
		if d.Path == w.base.Path && !d.ReadOnly {
			t.Errorf("the shared base is writable: %+v", d)
		}
	}
	if want := f.Join.Serials(); !slices.Equal(serials, want) {
		t.Errorf("serials %q, want %q", serials, want)
	}
}

func removeTwice(t *testing.T, w *world) {
	id := w.created(t)
	handles := w.activate(t, id).Handles
	for range 2 {
		if err := w.Remove(t.Context(), id, handles); err != nil {
			t.Fatal(err)
		}
		w.wantNothing(t, id)
	}
	if err := w.Remove(t.Context(), model.NewVMID(), model.DiskHandles{}); err != nil {
		t.Errorf("of a VM that never was: %v", err)
	}
	_, err := w.Usage(t.Context(), id)
	wantKind(t, err, model.ErrNotFound)
	_, err = os.Stat(w.base.Path)
	if err != nil {
		t.Errorf("the base: %v", err)
	}
}

func deactivateKeeps(t *testing.T, w *world) {
	id := w.created(t)
	disk := w.activate(t, id)
	mark(t, ownFile(t, disk), "kept")
	for range 2 {
		if err := w.Deactivate(t.Context(), id, disk.Handles); err != nil {
			t.Fatal(err)
		}
		w.wantDevices(t, id, false)
	}
	wantMark(t, ownFile(t, w.activate(t, id)), "kept")
	if err := w.Deactivate(t.Context(), model.NewVMID(), model.DiskHandles{}); err != nil {
		t.Errorf("of a VM that never was: %v", err)
	}
}

func sweep(t *testing.T, w *world) {
	gone, rests, lives := w.created(t), w.created(t), w.created(t)
	for _, id := range []model.VMID{gone, rests, lives} {
		w.activate(t, id)
	}
	// What only looks like ours stays.
	foreign := filepath.Join(w.vms, "notes", "root.qcow2")
	if err := os.MkdirAll(filepath.Dir(foreign), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	for range 2 {
		if err := w.Sweep(t.Context(), map[model.VMID]rootdisk.Keep{rests: rootdisk.KeepData, lives: rootdisk.KeepDevices}); err != nil {
			t.Fatal(err)
		}
		w.wantNothing(t, gone)
		w.wantDevices(t, rests, false)
		w.wantDevices(t, lives, true)
		for _, id := range []model.VMID{rests, lives} {
			if _, err := w.Usage(t.Context(), id); err != nil {
				t.Errorf("a kept disk: %v", err)
			}
		}
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a look-alike was swept: %v", err)
	}
}

func wrongBase(t *testing.T, w *world) {
	id := w.created(t)
	other := newBase(t, 2) // of the same size
	_, err := w.Activate(t.Context(), id, other)
	wantKind(t, err, model.ErrCorrupt)
	wantKind(t, w.Create(t.Context(), id, other), model.ErrCorrupt)
	w.wantDevices(t, id, false)
	w.activate(t, id) // it is not spoiled by that
}

func missingBase(t *testing.T, w *world) {
	id := w.created(t)
	cut := w.base
	cut.Bytes++ // the file is shorter than its row says
	absent := w.base
	absent.Path = filepath.Join(t.TempDir(), "absent")
	for _, bad := range []rootdisk.Base{cut, absent} {
		_, err := w.Activate(t.Context(), id, bad)
		wantKind(t, err, model.ErrCorrupt)
		fresh := w.vm(t)
		wantKind(t, w.Create(t.Context(), fresh, bad), model.ErrCorrupt)
		w.wantNothing(t, fresh)
	}
}

func missingData(t *testing.T, w *world) {
	id := w.vm(t)
	_, err := w.Activate(t.Context(), id, w.base)
	wantKind(t, err, model.ErrCorrupt)
	w.wantNothing(t, id)
}

func tornData(t *testing.T, w *world) {
	id := w.created(t)
	disk := w.activate(t, id)
	if err := w.Deactivate(t.Context(), id, disk.Handles); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(w.data(t, id, disk), 10); err != nil {
		t.Fatal(err)
	}
	_, err := w.Activate(t.Context(), id, w.base)
	wantKind(t, err, model.ErrCorrupt)
	if err := w.Remove(t.Context(), id, disk.Handles); err != nil {
		t.Fatal(err)
	}
	w.wantNothing(t, id)
}

func canceled(t *testing.T, w *world) {
	id := w.vm(t)
	wantKind(t, w.Create(ended(t), id, w.base), model.ErrCanceled)
	w.wantNothing(t, id)
	if err := w.Create(t.Context(), id, w.base); err != nil {
		t.Fatal(err)
	}
	_, err := w.Activate(ended(t), id, w.base)
	wantKind(t, err, model.ErrCanceled)
	w.wantDevices(t, id, false)
}

// lyingHint passes handles that name another VM's devices: those must live.
func lyingHint(t *testing.T, w *world) {
	mine, other := w.created(t), w.created(t)
	w.activate(t, mine)
	handles := w.activate(t, other).Handles
	if err := w.Deactivate(t.Context(), mine, handles); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(t.Context(), mine, handles); err != nil {
		t.Fatal(err)
	}
	w.wantNothing(t, mine)
	w.wantDevices(t, other, true)
	if _, err := w.Usage(t.Context(), other); err != nil {
		t.Errorf("the other VM's disk: %v", err)
	}
}

// find is for drivers that can tell a VM's devices.
func find(t *testing.T, w *world) {
	if _, ok := w.Driver.(rootdisk.Finder); !ok {
		if w.h.Devices != nil {
			t.Error("it has devices and cannot tell them")
		}
		return
	}
	id := w.created(t)
	w.activate(t, w.created(t))
	want := func(want model.DiskHandles) {
		t.Helper()
		w.restart(t)
		if got, err := w.Driver.(rootdisk.Finder).Find(t.Context(), id); err != nil || got != want {
			t.Errorf("found %+v, %v; want %+v", got, err, want)
		}
	}
	want(model.DiskHandles{})
	handles := w.activate(t, id).Handles
	want(handles)
	if err := w.Deactivate(t.Context(), id, handles); err != nil {
		t.Fatal(err)
	}
	want(model.DiskHandles{})
}

func fullDisk(t *testing.T, w *world) {
	id := w.vm(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.vms), "ballast"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	wantKind(t, w.Create(t.Context(), id, w.base), model.ErrNoSpace)
	w.wantNothing(t, id)
	if err := w.Remove(t.Context(), id, model.DiskHandles{}); err != nil {
		t.Errorf("Remove on a full disk: %v", err)
	}
}

// leaks is for drivers that tell what of a VM's disk is gone.
func leaks(t *testing.T, w *world) {
	teller, ok := w.Driver.(interface {
		Leaks(ctx context.Context, vms []model.VM) ([]model.Leak, error)
	})
	if !ok {
		return
	}
	id := w.created(t)
	vm := func(state model.State, driver string) model.VM {
		return model.VM{ID: id, Name: "box", State: state, RootDisk: driver}
	}
	tell := func(v model.VM) string {
		t.Helper()
		found, err := teller.Leaks(t.Context(), []model.VM{v})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(found)
	}
	if got := tell(vm(model.StateStopped, w.Name())); got != "[]" {
		t.Errorf("the disk is there: %s", got)
	}
	if err := w.Remove(t.Context(), id, model.DiskHandles{}); err != nil {
		t.Fatal(err)
	}
	for _, state := range []model.State{model.StateStopped, model.StateRunning} {
		if got := tell(vm(state, w.Name())); !strings.Contains(got, "row "+string(id)) {
			t.Errorf("the disk of a VM that is %s is gone: %s", state, got)
		}
	}
	for _, v := range []model.VM{vm(model.StateCreating, w.Name()), vm(model.StateDeleting, w.Name()), vm(model.StateFailed, w.Name()), vm(model.StateStopped, "another")} {
		if got := tell(v); got != "[]" {
			t.Errorf("nothing is promised of %+v: %s", v, got)
		}
	}
}
