package workdisk

import (
	"context"
	"errors"
	"os"
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

func TestCreateKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	path := filepath.Join(t.TempDir(), "work.ext4")
	if err := Create(t.Context(), path, 64*model.MiB); err != nil {
		t.Fatal(err)
	}
	if used, err := Usage(path); err != nil || used <= 0 || used > 8*model.MiB {
		t.Errorf("an empty disk takes %d bytes, %v", used, err)
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
		{"full disk", false, func(t *testing.T) string { return testenv.SmallDisk(t, 32<<10) }, model.GiB, model.ErrNoSpace},
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
