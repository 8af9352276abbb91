package emptyext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"banger/internal/model"
	"banger/internal/testenv"
)

func wantNames(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	if got := strings.Join(all, " "); got != want {
		t.Errorf("there is %q, want %q", got, want)
	}
}

func TestCreateMakesACleanFileSystem(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	fsck := testenv.NeedTool(t, "e2fsck")
	dump := testenv.NeedTool(t, "dumpe2fs")
	for _, size := range []int64{model.MinDiskBytes, model.MinDiskBytes + 1, 8 * model.GiB} {
		dir := t.TempDir()
		path := filepath.Join(dir, "disk")
		if err := Create(t.Context(), path, size); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() != FileBytes(size) || info.Size() < size || info.Size() >= size+block || info.Mode().Perm() != 0o600 {
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
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used <= 0 || used > 8*model.MiB {
			t.Errorf("%d: takes %d bytes", size, used)
		}
		wantNames(t, dir, "disk")
	}
}

func TestCreateWritesTheSameFileSystemAgain(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	const size = 5 * model.GiB // no other test's
	dir := t.TempDir()
	var made [][]byte
	for _, name := range []string{"first", "second", "third"} {
		path := filepath.Join(dir, name)
		if err := Create(t.Context(), path, size); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		l, err := read(t.Context(), file)
		if err != nil || len(l) == 0 {
			t.Fatalf("%d runs, %v", len(l), err)
		}
		all := fmt.Append(nil, l)
		made = append(made, all)
		info, err := file.Stat()
		if err != nil || info.Size() != size || info.Sys().(*syscall.Stat_t).Blocks*512 > model.MiB {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if !bytes.Equal(made[0], made[1]) || !bytes.Equal(made[0], made[2]) {
		t.Error("they differ")
	}
	fsck := testenv.NeedTool(t, "e2fsck")
	if out, err := exec.Command(fsck, "-fn", filepath.Join(dir, "second")).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

func TestLayoutsKeepFewAndNoLargeOnes(t *testing.T) {
	t.Parallel()
	l := layouts{of: map[int64]layout{}}
	formatted := 0
	write := func(size int64, data []byte) string {
		t.Helper()
		file, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		err = errors.Join(file.Truncate(size), l.write(t.Context(), file, size, func() error {
			formatted++
			_, err := file.WriteAt(data, 3*block)
			return err
		}))
		if err != nil {
			t.Fatal(err)
		}
		all, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	small, large := []byte("an empty file system"), bytes.Repeat([]byte{1}, int(maxLayout)+1)
	if one, two := write(model.MiB, small), write(model.MiB, nil); one != two || formatted != 1 {
		t.Errorf("a second one is made by format (%d times) or differs", formatted)
	}
	for range 2 {
		write(16*model.MiB, large)
	}
	if formatted != 3 || len(l.of) != 2 {
		t.Errorf("a large one: %d times by format, %d kept", formatted, len(l.of))
	}
	for n := range int64(10) {
		write((n+32)*model.MiB, small)
	}
	if formatted != 13 || len(l.of) > maxLayouts {
		t.Errorf("%d kept after %d", len(l.of), formatted)
	}
}

func TestCreateLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		dir  func(t *testing.T) string
		want error
	}{
		{"canceled", canceled, func(t *testing.T) string { return t.TempDir() }, context.Canceled},
		{"full disk", t.Context(), func(t *testing.T) string { return testenv.SmallDisk(t, 32<<10) }, syscall.ENOSPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := c.dir(t)
			if err := Create(c.ctx, filepath.Join(dir, "disk"), model.GiB); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			wantNames(t, dir, "")
		})
	}
}

func BenchmarkCreate(b *testing.B) {
	testenv.NeedTool(b, "mke2fs")
	path := filepath.Join(b.TempDir(), "disk")
	for b.Loop() {
		if err := Create(b.Context(), path, 8*model.GiB); err != nil {
			b.Fatal(err)
		}
	}
}
