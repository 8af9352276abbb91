package storage

import (
	"errors"
	"os"
	"testing"

	"banger/internal/model"
)

// TestDrivesStayUntilTheyAreClosed and are no part of the VM's snapshot, nor that of them.
func TestDrivesStayUntilTheyAreClosed(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	t.Cleanup(func() { _ = h.CloseDrives(t.Context(), id) })
	modules, work := file(t, 1<<20, os.O_RDONLY), file(t, 2<<20, os.O_RDWR)
	first, err := h.OpenDrive(id, 0, modules, true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.OpenDrive(id, 7, work, false)
	if err != nil {
		t.Fatal(err)
	}
	cow := attachLoop(t, h, id, partCOW, file(t, 2<<20, os.O_RDWR))
	if first.Dev == 0 || first.Dev == second.Dev {
		t.Errorf("the drives are %+v and %+v", first, second)
	}
	if f, err := os.OpenFile(first.Loop, os.O_RDWR|os.O_SYNC, 0); err == nil { // some kernels let it be opened so
		if _, err := f.Write(make([]byte, 512)); err == nil {
			t.Errorf("%s can be written to", first.Loop)
		}
		f.Close()
	}
	if all, err := h.Drives(); err != nil || len(all[id]) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	snapshots, err := h.List(t.Context())
	if err != nil || len(snapshots) != 1 || snapshots[0].COWLoop != cow.Name() || snapshots[0].BaseLoop != "" {
		t.Errorf("snapshots: %+v, %v", snapshots, err)
	}
	for range 2 {
		if err := h.CloseDrives(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if left := loopsOf(t, h, id); len(left) != 1 || left[partCOW].path != cow.Name() {
		t.Errorf("left: %+v", left)
	}
}

func TestWhatIsNoDrive(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	good := file(t, 1<<20, os.O_RDWR)
	stranger := New(Options{Instance: h.o.Instance, UID: h.o.UID + 1000})
	for name, c := range map[string]struct {
		host     *Host
		id       model.VMID
		n        int
		file     *os.File
		readOnly bool
		kind     error
	}{
		"no id":               {h, "..", 0, good, false, model.ErrInvalid},
		"a negative number":   {h, id, -1, good, false, model.ErrInvalid},
		"one too many":        {h, id, MaxDrives, good, false, model.ErrInvalid},
		"opened for writing":  {h, id, 0, good, true, model.ErrInvalid},
		"opened for reading":  {h, id, 0, file(t, 1<<20, os.O_RDONLY), false, model.ErrInvalid},
		"empty":               {h, id, 0, file(t, 0, os.O_RDWR), false, model.ErrInvalid},
		"half a sector":       {h, id, 0, file(t, 700, os.O_RDWR), false, model.ErrInvalid},
		"another user's file": {stranger, id, 0, good, false, model.ErrDenied},
	} {
		if d, err := c.host.OpenDrive(c.id, c.n, c.file, c.readOnly); !errors.Is(err, c.kind) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if all, err := h.Drives(); err != nil || len(all) != 0 {
		t.Errorf("left: %v, %v", all, err)
	}
}

func TestPartsOfADrive(t *testing.T) {
	t.Parallel()
	for part, want := range map[string]bool{"drive0": true, "drive7": true, "drive8": false, "drive-1": false, "drive": false, "drive00": false, "base": false, "drive0x": false} {
		if isDrive(part) != want {
			t.Errorf("%q: %t", part, !want)
		}
	}
}
