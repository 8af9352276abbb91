package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banger/internal/testenv"
)

func TestWrite(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"Write": Write, "WriteHint": WriteHint} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "handles.json")
			for _, data := range []string{"first", "second, longer", ""} {
				if err := write(path, []byte(data), 0o640); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || string(got) != data {
					t.Fatalf("%q, %v; want %q", got, err, data)
				}
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
			}
			wantNames(t, dir, "handles.json")
		})
	}
}

func TestConcurrentWritersLeaveOneWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := Write(path, bytes.Repeat([]byte{byte('a' + i)}, 100_000), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 100_000 || strings.Trim(string(got), string(got[:1])) != "" {
		t.Errorf("%d bytes, not those of one writer, %v", len(got), err)
	}
	wantNames(t, dir, "f")
}

func TestAbortKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("new"); err != nil {
		t.Fatal(err)
	}
	if name := filepath.Base(f.Name()); !IsTemp(name) {
		t.Errorf("%s is not known as a file written aside", name)
	}
	for range 2 {
		if err := f.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	wantNames(t, dir, "f")
}

func TestAbortAfterCommitDoesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Commit(), f.Abort()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "taken"), []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	wantNames(t, dir, "taken")
	if err := Write(filepath.Join(dir, "absent", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

func TestFullDiskKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	dir := testenv.SmallDisk(t, 64<<10)
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("1 MiB fitted into 64 KiB")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	wantNames(t, dir, "f")
}

func TestSweepTakesTheRightOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keep := []string{"f", ".f.tmp", ".f.x1.tmp", ".g.12.tmp", "f.12.tmp", ".f.12", ".12.tmp"}
	for _, name := range append([]string{".f.12.tmp", ".f.3.tmp"}, keep...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, keep...)
	if err := Sweep(filepath.Join(dir, "absent", "f")); err != nil {
		t.Errorf("a missing directory: %v", err)
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, e := range entries {
		got[e.Name()] = true
	}
	for _, name := range want {
		if !got[name] {
			t.Errorf("%s is missing", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s was left behind", name)
	}
}
