package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/rootdisk"
	"banger/internal/testenv"
)

// overlay makes an overlay over a base of the given size whose every byte is 'b'.
func overlay(t testing.TB, size int64) (string, rootdisk.Base) {
	t.Helper()
	dir := t.TempDir()
	base := rootdisk.Base{Path: filepath.Join(dir, "base"), Digest: model.Digest("sha256:" + strings.Repeat("ab", 32)), Bytes: size}
	file, err := os.Create(base.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(bytes.Repeat([]byte("b"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		t.Fatal(err)
	}
	id := model.NewVMID()
	if err := os.Mkdir(filepath.Join(dir, string(id)), 0o700); err != nil {
		t.Fatal(err)
	}
	d := New(Options{VMs: dir, Log: slog.New(slog.DiscardHandler)})
	if err := d.Create(t.Context(), id, base); err != nil {
		t.Fatal(err)
	}
	return d.path(id), base
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestQEMUFindsItClean(t *testing.T) {
	t.Parallel()
	img := testenv.NeedTool(t, "qemu-img")
	for _, size := range []int64{2 * model.MiB, perL1, perL1 + 512, 10 * model.GiB, 8 * model.TiB} {
		path, _ := overlay(t, size)
		if out := run(t, img, "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
			t.Errorf("%d: %s", size, out)
		}
		out := run(t, img, "info", "--output=json", "-f", "qcow2", path)
		if !strings.Contains(out, fmt.Sprintf(`"virtual-size": %d`, size)) || strings.Contains(out, "backing") {
			t.Errorf("%d: %s", size, out)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		used, err := New(Options{VMs: filepath.Dir(filepath.Dir(path))}).Usage(t.Context(), model.VMID(filepath.Base(filepath.Dir(path))))
		if err != nil || used.Bytes > 64<<10 {
			t.Errorf("%d: takes %d of %d bytes, %v", size, used.Bytes, info.Size(), err)
		}
	}
}

// TestQEMUReadsThroughToTheBase gives QEMU the block devices as the VMM does, writes into the overlay, and looks at what
// is read, at the base, and at the header that QEMU has had in hand.
func TestQEMUReadsThroughToTheBase(t *testing.T) {
	t.Parallel()
	qemuIO, img := testenv.NeedTool(t, "qemu-io"), testenv.NeedTool(t, "qemu-img")
	path, base := overlay(t, 10*model.GiB)
	node := fmt.Sprintf(`json:{"driver":"qcow2","discard":"unmap","file":{"driver":"file","filename":%q},`+
		`"backing":{"driver":"raw","read-only":true,"file":{"driver":"file","filename":%q}}}`, path, base.Path)
	run(t, qemuIO, node,
		"-c", "read -P 0x62 0 1M", // 'b'
		"-c", "read -P 0 1M 64k",
		"-c", "write -P 0x77 4096 4096", // less than a cluster: the rest of it comes from the base
		"-c", "write -P 0x77 9G 64k",
		"-c", "flush")
	run(t, qemuIO, node, "-c", "read -P 0x62 0 4096", "-c", "read -P 0x77 4096 4096", "-c", "read -P 0x62 8192 57344", "-c", "read -P 0x77 9G 64k")
	file, err := os.Open(base.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data := make([]byte, 1<<20)
	if _, err := file.Read(data); err != nil || strings.Trim(string(data), "b") != "" {
		t.Errorf("the base was written to (%v)", err)
	}
	if out := run(t, img, "check", "-f", "qcow2", path); !strings.Contains(out, "No errors were found") {
		t.Error(out)
	}
	// QEMU writes the header anew here, and may put extensions of its own before ours.
	run(t, img, "amend", "-f", "qcow2", "-o", "lazy_refcounts=on", path)
	overlay, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer overlay.Close()
	if err := check(overlay, base); err != nil {
		t.Errorf("after QEMU: %v", err)
	}
}

// TestCheckRefuses changes one field of a good header at a time, as a VMM that was taken over could.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	path, base := overlay(t, 2*model.MiB)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(bytes.NewReader(good), base); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(b []byte){
		"magic":            func(b []byte) { b[0] = 0 },
		"version 2":        func(b []byte) { b[7] = 2 },
		"backing file":     func(b []byte) { binary.BigEndian.PutUint64(b[8:], 0x200) },
		"cluster bits":     func(b []byte) { b[23] = 9 },
		"size":             func(b []byte) { b[24+6]++ },
		"encryption":       func(b []byte) { b[35] = 2 },
		"corrupt":          func(b []byte) { b[79] |= featureCorrupt },
		"data file":        func(b []byte) { b[79] |= 1 << 2 },
		"unknown feature":  func(b []byte) { b[72] |= 1 },
		"header size":      func(b []byte) { binary.BigEndian.PutUint32(b[100:], 72) },
		"huge header size": func(b []byte) { binary.BigEndian.PutUint32(b[100:], 1<<31) },
		"no digest":        func(b []byte) { b[104] = 0xff },
		"digest":           func(b []byte) { b[112]++ },
		"extension size": func(b []byte) {
			binary.BigEndian.PutUint32(b[104:], 7)
			binary.BigEndian.PutUint32(b[108:], 0xffffffff)
		},
	} {
		bad := bytes.Clone(good)
		spoil(bad)
		if err := check(bytes.NewReader(bad), base); !errors.Is(err, errDamaged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, n := range []int{0, 3, 103, 104, 111, 130} {
		if err := check(bytes.NewReader(good[:n]), base); !errors.Is(err, errDamaged) {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
	dirty := bytes.Clone(good)
	dirty[79] |= featureDirty
	if err := check(bytes.NewReader(dirty), base); err != nil {
		t.Errorf("QEMU repairs a dirty one: %v", err)
	}
}

func TestOnlyARegularFileIsAnOverlay(t *testing.T) {
	t.Parallel()
	path, base := overlay(t, 2*model.MiB)
	d := New(Options{VMs: filepath.Dir(filepath.Dir(path))})
	id := model.VMID(filepath.Base(filepath.Dir(path)))
	if err := errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".away", path)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Activate(t.Context(), id, base); err == nil {
		t.Error("a link was followed")
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Activate(t.Context(), id, base); !errors.Is(err, model.ErrCorrupt) {
		t.Errorf("a directory: got %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	path, base := overlay(f, 2*model.MiB)
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:200])
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = check(bytes.NewReader(data), base) // must not panic or hang
	})
}

func BenchmarkCreate(b *testing.B) {
	path, base := overlay(b, 10*model.GiB)
	d := New(Options{VMs: filepath.Dir(filepath.Dir(path))})
	id := model.VMID(filepath.Base(filepath.Dir(path)))
	for b.Loop() {
		if err := errors.Join(d.Remove(b.Context(), id, model.DiskHandles{}), d.Create(b.Context(), id, base)); err != nil {
			b.Fatal(err)
		}
	}
}
