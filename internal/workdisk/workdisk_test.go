package workdisk

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/testenv"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestCreateMakesACleanFileSystem(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	fsck := testenv.NeedTool(t, "e2fsck")
	dump := testenv.NeedTool(t, "dumpe2fs")
	for _, size := range []int64{model.MinDiskBytes, model.MinDiskBytes + 1, 8 * model.GiB} {
		dir := t.TempDir()
		path := filepath.Join(dir, "work.ext4")
		if err := Create(t.Context(), path, size); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() < size || info.Size() >= size+block || info.Mode().Perm() != 0o600 {
			t.Errorf("%d: %v bytes, mode %v, %v", size, info.Size(), info.Mode(), err)
		}
		if out, err := exec.Command(fsck, "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("%d: e2fsck: %v\n%s", size, err, out)
		}
		out, err := exec.Command(dump, "-h", path).Output()
		for _, want := range []string{"has_journal", "resize_inode", "extent", "metadata_csum", "Block size:               4096", "Reserved block count:     0"} {
			if err != nil || !strings.Contains(string(out), want) {
				t.Errorf("%d: %q is not in %v\n%s", size, want, err, out)
			}
		}
		if used, err := Usage(path); err != nil || used <= 0 || used > 8*model.MiB {
			t.Errorf("%d: takes %d bytes, %v", size, used, err)
		}
		if got := names(t, dir); got != "work.ext4" {
			t.Errorf("left behind: %s", got)
		}
	}
}

func TestCreateKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	path := filepath.Join(t.TempDir(), "work.ext4")
	if err := Create(t.Context(), path, 64*model.MiB); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("of the guest"), 40<<20); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Close(), Create(t.Context(), path, 64*model.MiB)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data[40<<20:][:12]) != "of the guest" {
		t.Errorf("a second Create lost data (%v)", err)
	}
	if err := Create(t.Context(), path, 65*model.MiB); !errors.Is(err, model.ErrExists) {
		t.Errorf("another size: got %v, want ErrExists", err)
	}
}

func TestCreateLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	for _, c := range []struct {
		name string
		end  bool // of the context, before the call
		dir  func(t *testing.T) string
		size int64
		want error
	}{
		{"too small", false, func(t *testing.T) string { return t.TempDir() }, model.MinDiskBytes - 1, model.ErrInvalid},
		{"too large", false, func(t *testing.T) string { return t.TempDir() }, model.MaxDiskBytes + 1, model.ErrInvalid},
		{"canceled", true, func(t *testing.T) string { return t.TempDir() }, model.GiB, model.ErrCanceled},
		{"full disk", false, func(t *testing.T) string { return testenv.SmallDisk(t, 128<<10) }, model.GiB, model.ErrNoSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.end {
				cancel()
			}
			dir := c.dir(t)
			path := filepath.Join(dir, "work.ext4")
			if err := Create(ctx, path, c.size); !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "cannot ") {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if got := names(t, dir); got != "" {
				t.Errorf("left behind: %s", got)
			}
		})
	}
}

func TestFormatEndsWithItsContext(t *testing.T) {
	t.Parallel()
	mke2fs := testenv.NeedTool(t, "mke2fs")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := format(ctx, mke2fs, filepath.Join(t.TempDir(), "absent")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "work.ext4")
	for _, name := range []string{"work.ext4", ".work.ext4.12.tmp", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, dir); got != "other" {
		t.Errorf("left: %q, want other", got)
	}
	if _, err := Usage(path); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func BenchmarkCreate(b *testing.B) {
	testenv.NeedTool(b, "mke2fs")
	path := filepath.Join(b.TempDir(), "work.ext4")
	for b.Loop() {
		if err := errors.Join(Create(b.Context(), path, 8*model.GiB), Remove(path)); err != nil {
			b.Fatal(err)
		}
	}
}
