package overlay

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/hosttool"
	"banger/internal/model"
	"banger/internal/rootdisk"
	"banger/internal/rootdisk/rootdisktest"
	"banger/internal/testenv"
)

func newDriver(vms string) *Driver {
	return New(Options{VMs: vms, Log: slog.New(slog.DiscardHandler)})
}

func TestSuite(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	rootdisktest.Run(t, rootdisktest.Harness{
		New: func(_ *testing.T, vms string) rootdisk.Driver { return newDriver(vms) },
	})
}

// made is a VM over a sparse base of so many bytes.
func made(t *testing.T, size int64) (*Driver, model.VMID, rootdisk.Base) {
	t.Helper()
	testenv.NeedTool(t, "mke2fs")
	dir := t.TempDir()
	base := rootdisk.Base{Path: filepath.Join(dir, "root.ext4"), Digest: model.Digest("sha256:" + strings.Repeat("a", 64)), Bytes: size}
	file, err := os.Create(base.Path)
	if err == nil {
		err = errors.Join(file.Truncate(size), file.Close())
	}
	id := model.NewVMID()
	if err := errors.Join(err, os.MkdirAll(filepath.Join(dir, "vms", string(id)), 0o700)); err != nil {
		t.Fatal(err)
	}
	d := newDriver(filepath.Join(dir, "vms"))
	if err := d.Create(t.Context(), id, base); err != nil {
		t.Fatal(err)
	}
	return d, id, base
}

func TestTheLayerIsAsLargeAsTheImageAndSparse(t *testing.T) {
	t.Parallel()
	for base, want := range map[int64]int64{512: model.MinDiskBytes, 10 * model.GiB: 10 * model.GiB, 10*model.GiB + 512: 10*model.GiB + 4096} {
		d, id, _ := made(t, base)
		info, err := os.Stat(d.path(id, File))
		if err != nil || info.Size() != want || info.Mode().Perm() != 0o600 {
			t.Errorf("over %d bytes: %d bytes, mode %v, %v; want %d", base, info.Size(), info.Mode(), err, want)
		}
		if usage, err := d.Usage(t.Context(), id); err != nil || usage.Bytes <= 0 || usage.Bytes > 8*model.MiB {
			t.Errorf("over %d bytes: takes %+v, %v", base, usage, err)
		}
	}
}

// TestNothingReadsTheLayer puts rubbish where the file system was: what a guest wrote is its kernel's to judge.
func TestNothingReadsTheLayer(t *testing.T) {
	t.Parallel()
	d, id, base := made(t, model.MinDiskBytes)
	rubbish := bytes.Repeat([]byte("rubbish!"), int(layerBytes(base)/8))
	if err := os.WriteFile(d.path(id, File), rubbish, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Activate(t.Context(), id, base); err != nil {
		t.Error(err)
	}
	if err := d.Create(t.Context(), id, base); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(d.path(id, File)); err != nil || !bytes.Equal(data, rubbish) {
		t.Errorf("the layer was changed (%v)", err)
	}
}

func TestALayerWithoutItsBaseIsRefused(t *testing.T) {
	t.Parallel()
	d, id, base := made(t, model.MinDiskBytes)
	for _, text := range []string{"", "sha256:", strings.Replace(string(base.Digest), "a", "b", 1)} {
		if err := os.WriteFile(d.path(id, baseFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Activate(t.Context(), id, base); !errors.Is(err, model.ErrCorrupt) {
			t.Errorf("%q: got %v, want ErrCorrupt", text, err)
		}
	}
	if err := os.Remove(d.path(id, baseFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Activate(t.Context(), id, base); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("without the file: got %v, want ErrCorrupt", err)
	}
}

func TestAHostWithoutItsToolIsToldOf(t *testing.T) {
	t.Parallel()
	d := newDriver(t.TempDir())
	d.tool = func() (string, error) { return hosttool.Find("banger-no-such-tool", "e2fsprogs") }
	if f := d.Features(t.Context()); !strings.Contains(f.Problem, "apt-get install e2fsprogs") || f.Join != model.JoinOverlay {
		t.Errorf("the features are %+v", f)
	}
}
