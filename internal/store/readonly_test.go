package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

// looked is all that a directory shows of its files, their content but for those whose locks a read would drop.
func looked(t *testing.T, dir string, content bool) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, e.Name(), info.Size(), info.Mode(), info.ModTime().UnixNano())
		if content {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&all, "%x\n", data)
		}
	}
	return all.String()
}

// names reads the VMs through a read-only store, and requires that this changes nothing.
func names(t *testing.T, path string, content bool) ([]string, error) {
	t.Helper()
	before := looked(t, filepath.Dir(path), content)
	defer func() {
		t.Helper()
		if after := looked(t, filepath.Dir(path), content); after != before {
			t.Errorf("looking changed the directory from\n%s\nto\n%s", before, after)
		}
	}()
	s, err := OpenReadOnly(t.Context(), path)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := s.CreateVM(t.Context(), newVM("written")); !errors.Is(err, model.ErrDenied) {
		t.Errorf("a write: %v", err)
	}
	vms, err := s.VMs(t.Context())
	var all []string
	for _, v := range vms {
		all = append(all, v.Name)
	}
	return all, err
}

// killed copies a store's files as they would be had its daemon been killed now.
func killed(t *testing.T, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(s.path))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, filepath.Base(s.path))
}

func TestReadOnlySeesAllAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := open(t)
	create(t, s, "one")
	// A read of the files would drop the locks of the store that is open here.
	if got, err := names(t, s.path, false); err != nil || strings.Join(got, " ") != "one" {
		t.Errorf("beside a daemon: %q, %v", got, err)
	}
	create(t, s, "two")
	copied := killed(t, s)
	if info, err := os.Stat(copied + "-wal"); err != nil || info.Size() == 0 {
		t.Fatalf("the test needs a journal: %v", err)
	}
	if got, err := names(t, copied, true); err != nil || strings.Join(got, " ") != "one two" {
		t.Errorf("after a daemon was killed: %q, %v", got, err)
	}
	if err := os.Remove(copied + "-shm"); err != nil {
		t.Fatal(err)
	}
	if got, err := names(t, copied, true); !errors.Is(err, model.ErrState) {
		t.Errorf("with a journal that has no index: %q, %v", got, err)
	}
	reopened, err := Open(t.Context(), copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := reopened.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(copied + "-wal"); err == nil {
		t.Fatal("the test needs a database without a journal")
	}
	if got, err := names(t, copied, true); err != nil || strings.Join(got, " ") != "one two" {
		t.Errorf("after a daemon has ended: %q, %v", got, err)
	}
}

func TestReadOnlyRefuses(t *testing.T) {
	t.Parallel()
	if _, err := names(t, filepath.Join(t.TempDir(), "banger.db"), true); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("no database: %v", err)
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		kind  error
	}{
		"empty":   {func(t *testing.T, path string) { truncate(t, path, 0) }, model.ErrCorrupt},
		"damaged": {func(t *testing.T, path string) { overwrite(t, path, 4096, []byte(strings.Repeat("x", 8192))) }, model.ErrCorrupt},
		"foreign": {func(t *testing.T, path string) { execute(t, path, "PRAGMA application_id = 7") }, model.ErrCorrupt},
		"newer":   {func(t *testing.T, path string) { execute(t, path, "PRAGMA user_version = 1000") }, model.ErrUnsupported},
		"older":   {func(t *testing.T, path string) { execute(t, path, "PRAGMA user_version = 1") }, model.ErrState},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := closed(t, t.TempDir())
			c.spoil(t, path)
			if _, err := names(t, path, true); !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
		})
	}
}
