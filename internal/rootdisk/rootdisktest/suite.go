package rootdisktest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/model"
	"banger/internal/rootdisk"
	"banger/internal/testenv"
)

// Harness is what the suite needs of a driver. A driver is made anew more than once over the same directories: it stands
// for the daemon after a crash.
type Harness struct {
	// New returns a driver that keeps VMs' data in vms/<id>.
	New func(t *testing.T, vms string) rootdisk.Driver
	// Devices says whether the VM's devices are there; nil for a driver that has none.
	Devices func(t *testing.T, vms string, id model.VMID) bool
	// Data is the file in which the VM's own data is at rest; nil for a driver whose writable drive it is.
	Data func(vms string, id model.VMID) string
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"Features", features},
		{"CreateTwiceKeepsData", createTwice},
		{"ActivateAfterACrash", activateAfterCrash},
		{"ActivateDescribesTheDisk", activateDescribes},
		{"RemoveTwiceAndOfNothing", removeTwice},
		{"DeactivateKeepsData", deactivateKeeps},
		{"SweepKeepsWhatItShould", sweep},
		{"WrongBase", wrongBase},
		{"MissingBase", missingBase},
		{"MissingData", missingData},
		{"TornData", tornData},
		{"Canceled", canceled},
		{"LyingHint", lyingHint},
		{"FindAfterACrash", find},
		{"Leaks", leaks},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newWorld(t, h, t.TempDir()))
		})
	}
	t.Run("FullDisk", func(t *testing.T) {
		t.Parallel()
		fullDisk(t, newWorld(t, h, testenv.SmallDisk(t, 128<<10)))
	})
}

// world is one installation: a directory of VMs' directories with a base beside it.
type world struct {
	h    Harness
	vms  string
	base rootdisk.Base
	rootdisk.Driver
}

func newWorld(t *testing.T, h Harness, dir string) *world {
	t.Helper()
	w := &world{h: h, vms: filepath.Join(dir, "vms"), base: newBase(t, 1)}
	w.Driver = h.New(t, w.vms)
	return w
}

// restart replaces the driver, which forgets all it did not leave on the host.
func (w *world) restart(t *testing.T) { w.Driver = w.h.New(t, w.vms) }

func newBase(t *testing.T, seed byte) rootdisk.Base {
	t.Helper()
	data := bytes.Repeat([]byte{seed}, 1<<20)
	path := filepath.Join(t.TempDir(), "root.ext4")
	if err := os.WriteFile(path, data, 0o400); err != nil {
		t.Fatal(err)
	}
	return rootdisk.Base{Path: path, Digest: model.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(data))), Bytes: int64(len(data))}
}

// vm makes the directory of a VM, which is the service's part, and no disk.
func (w *world) vm(t *testing.T) model.VMID {
	t.Helper()
	id := model.NewVMID()
	if err := os.MkdirAll(filepath.Join(w.vms, string(id)), 0o700); err != nil {
		t.Fatal(err)
	}
	return id
}

// created is a VM with a disk.
func (w *world) created(t *testing.T) model.VMID {
	t.Helper()
	id := w.vm(t)
	if err := w.Create(t.Context(), id, w.base); err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) activate(t *testing.T, id model.VMID) rootdisk.Disk {
	t.Helper()
	disk, err := w.Activate(t.Context(), id, w.base)
	if err != nil {
		t.Fatal(err)
	}
	w.wantDevices(t, id, true)
	return disk
}

// ownFile is the writable file or device of an active disk, which every driver must have exactly one of.
func ownFile(t *testing.T, disk rootdisk.Disk) string {
	t.Helper()
	var own []string
	for _, d := range disk.Drives {
		if !d.ReadOnly {
			own = append(own, d.Path)
		}
	}
	if len(own) != 1 {
		t.Fatalf("%d writable drives, want one: %+v", len(own), disk.Drives)
	}
	return own[0]
}

// data is the file in which the VM's own data is at rest.
func (w *world) data(t *testing.T, id model.VMID, disk rootdisk.Disk) string {
	t.Helper()
	if w.h.Data == nil {
		return ownFile(t, disk)
	}
	return w.h.Data(w.vms, id)
}

func (w *world) wantDevices(t *testing.T, id model.VMID, want bool) {
	t.Helper()
	if w.h.Devices == nil {
		return
	}
	if got := w.h.Devices(t, w.vms, id); got != want {
		t.Errorf("devices of %s are there: %v, want %v", id, got, want)
	}
}

// wantNothing checks that the driver has left nothing in the VM's directory, nor a device.
func (w *world) wantNothing(t *testing.T, id model.VMID) {
	t.Helper()
	w.wantDevices(t, id, false)
	entries, err := os.ReadDir(filepath.Join(w.vms, string(id)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", e.Name())
	}
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
	}
}

func ended(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
