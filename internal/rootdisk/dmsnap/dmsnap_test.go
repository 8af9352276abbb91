package dmsnap_test

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/helper/storage"
	"banger/internal/model"
	"banger/internal/rootdisk"
	"banger/internal/rootdisk/dmsnap"
	"banger/internal/rootdisk/dmsnap/dmsnaptest"
	"banger/internal/rootdisk/rootdisktest"
	"banger/internal/testenv"
)

func pretended(vms string) *dmsnaptest.Host {
	return dmsnaptest.New(filepath.Join(filepath.Dir(vms), "devices"))
}

func driver(vms string, v dmsnap.Verbs) *dmsnap.Driver {
	return dmsnap.New(dmsnap.Options{VMs: vms, Verbs: v, Log: slog.New(slog.DiscardHandler)})
}

func data(vms string, id model.VMID) string { return filepath.Join(vms, string(id), dmsnap.File) }

func TestSuite(t *testing.T) {
	t.Parallel()
	rootdisktest.Run(t, rootdisktest.Harness{
		New: func(_ *testing.T, vms string) rootdisk.Driver { return driver(vms, pretended(vms)) },
		Devices: func(_ *testing.T, vms string, id model.VMID) bool {
			return strings.Contains(pretended(vms).String(), string(id))
		},
		Data: data,
	})
}

// onHost is the installation of a VMs' directory on the real host. Each has its own, since devices are seen by all.
func onHost(vms string) *storage.Host {
	sum := sha256.Sum256([]byte(vms))
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:8])
	return storage.New(storage.Options{Instance: model.InstanceID(id), UID: os.Getuid(), GID: os.Getgid(), Udev: testenv.Udev{}})
}

// TestSuiteOverRealDevices runs where the kernel has snapshots, as in the lab.
func TestSuiteOverRealDevices(t *testing.T) {
	t.Parallel()
	if problem := onHost("").Problem(); problem != "" {
		t.Skipf("not run: needs snapshots: %s", problem)
	}
	rootdisktest.Run(t, rootdisktest.Harness{
		New: func(t *testing.T, vms string) rootdisk.Driver {
			d := driver(vms, onHost(vms))
			t.Cleanup(func() {
				if err := d.Sweep(context.Background(), nil); err != nil { // the test's own has ended
					t.Error(err)
				}
			})
			return d
		},
		Devices: func(t *testing.T, vms string, id model.VMID) bool {
			there, err := onHost(vms).List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(there, func(s storage.Snapshot) bool { return s.ID == id })
		},
		Data: data,
	})
}

// made is a VM with an active disk over a base of so many bytes, on a pretended host.
func made(t *testing.T, size int64) (*dmsnaptest.Host, *dmsnap.Driver, model.VMID, rootdisk.Base, string) {
	t.Helper()
	dir := t.TempDir()
	vms := filepath.Join(dir, "vms")
	base := rootdisk.Base{Path: filepath.Join(dir, "root.ext4"), Digest: model.Digest("sha256:" + strings.Repeat("a", 64)), Bytes: size}
	id := model.NewVMID()
	err := errors.Join(os.WriteFile(base.Path, nil, 0o600), os.Truncate(base.Path, size), os.MkdirAll(filepath.Join(vms, string(id)), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	host := pretended(vms)
	d := driver(vms, host)
	if err := d.Create(t.Context(), id, base); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Activate(t.Context(), id, base); err != nil {
		t.Fatal(err)
	}
	return host, d, id, base, vms
}

func TestTheFileHoldsAllChangesAndIsSparse(t *testing.T) {
	t.Parallel()
	const size = 10 * model.GiB
	_, d, id, _, vms := made(t, size)
	info, err := os.Stat(data(vms, id))
	if err != nil || info.Size() != storage.COWBytes(size) || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, mode %v, %v", info.Size(), info.Mode(), err)
	}
	if usage, err := d.Usage(t.Context(), id); err != nil || usage.Bytes <= 0 || usage.Bytes > 64<<10 {
		t.Errorf("takes %+v, %v", usage, err)
	}
}

func TestWhatTheDevicesAreIsInTheHandles(t *testing.T) {
	t.Parallel()
	_, d, id, base, _ := made(t, model.GiB)
	disk, err := d.Activate(t.Context(), id, base)
	if h := disk.Handles; err != nil || h.BaseLoop == "" || h.COWLoop == "" || h.DMName == "" || h.DMDev == "" {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestALostSnapshot is one that the kernel has given up on a full host.
func TestALostSnapshot(t *testing.T) {
	t.Parallel()
	host, d, id, base, vms := made(t, model.GiB)
	if err := d.Check(t.Context(), id); err != nil {
		t.Errorf("it is whole, but: %v", err)
	}
	host.Lost = func(lost model.VMID) bool { return lost == id }
	if err := d.Check(t.Context(), id); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("while it is used: got %v, want ErrCorrupt", err)
	}
	leaks, err := d.Leaks(t.Context(), []model.VM{{ID: id, Name: "box", State: model.StateRunning, RootDisk: d.Name()}})
	if err != nil || len(leaks) != 1 || leaks[0].Kind != "disk" {
		t.Errorf("doctor is told %+v, %v", leaks, err)
	}
	if err := d.Deactivate(t.Context(), id, model.DiskHandles{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Check(t.Context(), id); err != nil {
		t.Errorf("without devices: %v", err)
	}
	if _, err := d.Activate(t.Context(), id, base); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if err := d.Remove(t.Context(), id, model.DiskHandles{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(data(vms, id)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its file is there: %v", err)
	}
}

// powerless is a host on which an ordinary user runs.
type powerless struct{ t *testing.T }

func (powerless) Problem() string { return "only root can" }

func (p powerless) Attach(context.Context, model.VMID, *os.File, *os.File) (storage.Snapshot, error) {
	p.t.Error("attached")
	return storage.Snapshot{}, nil
}

func (p powerless) Detach(context.Context, model.VMID) error { p.t.Error("detached"); return nil }

func (p powerless) List(context.Context) ([]storage.Snapshot, error) {
	p.t.Error("listed")
	return nil, nil
}

func TestAnOrdinaryUsersSweepAsksForNothing(t *testing.T) {
	t.Parallel()
	_, _, id, _, vms := made(t, model.GiB)
	d := driver(vms, powerless{t})
	if f := d.Features(t.Context()); f.Problem != "only root can" {
		t.Errorf("the features are %+v", f)
	}
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(data(vms, id)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a forgotten VM's file is there: %v", err)
	}
}

func TestLeaksOfDevices(t *testing.T) {
	t.Parallel()
	_, d, id, _, _ := made(t, model.GiB)
	tell := func(state model.State) string {
		t.Helper()
		found, err := d.Leaks(t.Context(), []model.VM{{ID: id, Name: "box", RootDisk: d.Name(), State: state}})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(found)
	}
	if got := tell(model.StateRunning); got != "[]" {
		t.Errorf("in order: %s", got)
	}
	if got := tell(model.StateStopped); !strings.HasPrefix(got, "[device ") || !strings.Contains(got, string(id)) {
		t.Errorf("devices of a VM that does not run: %s", got)
	}
	if found, err := d.Leaks(t.Context(), nil); err != nil || len(found) != 1 || found[0].Kind != "device" {
		t.Errorf("devices of nobody: %v, %v", found, err)
	}
	if err := d.Deactivate(t.Context(), id, model.DiskHandles{}); err != nil {
		t.Fatal(err)
	}
	if got := tell(model.StateStopped); got != "[]" {
		t.Errorf("at rest: %s", got)
	}
	if got := tell(model.StateRunning); !strings.HasPrefix(got, "[row "+string(id)) {
		t.Errorf("running without devices: %s", got)
	}
}
