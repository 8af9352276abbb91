package store

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

// closed makes a database with one VM in it, closes it and returns its path.
func closed(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "banger.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Created() {
		t.Error("a fresh database is not told from an old one")
	}
	err = errors.Join(s.InsertImage(t.Context(), model.Image{Digest: digest(1), Name: "debian"}), s.InsertKernel(t.Context(), model.Kernel{Digest: digest(2), Name: "k"}))
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "box")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReopen(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "with space", "a?b=c&d#e%41;f", "ünï"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := closed(t, dir)
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.VMs(t.Context())
		if err != nil || len(all) != 1 || s.Created() {
			t.Errorf("%v, %v, created %v", all, err, s.Created())
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(e.Name(), "banger.db") {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDamageIsRefusedAndKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		want  error
	}{
		{"empty", func(t *testing.T, path string) { truncate(t, path, 0) }, model.ErrCorrupt},
		{"cut in the header", func(t *testing.T, path string) { truncate(t, path, 50) }, model.ErrCorrupt},
		{"cut after a page", func(t *testing.T, path string) { truncate(t, path, 4096) }, model.ErrCorrupt},
		{"rubbish", func(t *testing.T, path string) { overwrite(t, path, 0, bytes.Repeat([]byte("rubbish "), 4096)) }, model.ErrCorrupt},
		{"rubbish in a page", func(t *testing.T, path string) { overwrite(t, path, 4096, bytes.Repeat([]byte("rubbish "), 512)) }, model.ErrCorrupt},
		{"another program's", func(t *testing.T, path string) { execute(t, path, "PRAGMA application_id = 1") }, model.ErrCorrupt},
		{"newer", func(t *testing.T, path string) { execute(t, path, "PRAGMA user_version = 99") }, model.ErrUnsupported},
		{"a directory", func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, model.ErrCorrupt},
		{"a link", func(t *testing.T, path string) {
			if err := errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".away", path)); err != nil {
				t.Fatal(err)
			}
		}, model.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := closed(t, t.TempDir())
			c.spoil(t, path)
			before, _ := os.ReadFile(path)
			s, err := Open(t.Context(), path)
			wantKind(t, err, c.want)
			if s != nil {
				t.Fatal("it was opened")
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("it was changed")
			}
		})
	}
}

func TestAJournalWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "banger.db")
	if err := os.WriteFile(path+"-wal", []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path)
	wantKind(t, err, model.ErrCorrupt)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a new database was put beside the old journal")
	}
}

func TestACrashedCreateIsBegunAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"banger.db.new", "banger.db.new-wal", "banger.db.new-shm"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, dir)
	if left, err := filepath.Glob(filepath.Join(dir, "*.new*")); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := closed(t, t.TempDir())
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other := raw(t, path)
	tx, err := other.BeginTx(t.Context(), nil) // as another program would
	if err != nil {
		t.Fatal(err)
	}
	vms, err := s.VMs(t.Context())
	if err != nil || len(vms) != 1 {
		t.Errorf("a list waits for a writer: %v", err)
	}
	if _, err := s.db.ExecContext(t.Context(), "PRAGMA busy_timeout(1)"); err != nil {
		t.Fatal(err)
	}
	s.db.SetMaxOpenConns(1) // the connection that was just told not to wait
	wantKind(t, s.Touch(t.Context(), vms[0].ID), model.ErrUnavailable)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Touch(t.Context(), vms[0].ID); err != nil {
		t.Errorf("after the lock is gone: %v", err)
	}
}

// TestReadOnly opens the database as another user, to whom it is read-only.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	dir := t.TempDir()
	path := closed(t, dir)
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		// The file system's view of who we are belongs to the thread, which ends with this goroutine.
		runtime.LockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			done <- err
			return
		}
		s, err := Open(t.Context(), path)
		if err == nil {
			err = errors.Join(s.Touch(t.Context(), "x"), s.Close())
		}
		_, fresh := Open(t.Context(), filepath.Join(dir, "fresh.db"))
		done <- errors.Join(err, fresh)
	}()
	err = <-done
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		wantKind(t, e, model.ErrDenied)
	}
	if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n != 2 {
		t.Errorf("%d errors, want 2: %v", n, err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := testenv.SmallDisk(t, 4<<20)
	path := closed(t, dir)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	vms, err := s.VMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 8<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	for i := range 2000 { // the journal has some room of its own first
		big := newVM(fmt.Sprintf("vm-%d", i))
		big.LastError = strings.Repeat("x", 4096)
		if _, err = s.CreateVM(t.Context(), big); err != nil {
			break
		}
	}
	wantKind(t, err, model.ErrNoSpace)
	if _, err := os.Stat(s.reservePath()); err != nil {
		t.Errorf("a create spent the reserve: %v", err)
	}
	if _, err := s.VMs(t.Context()); err != nil {
		t.Errorf("list: %v", err)
	}
	if _, _, err := s.InsertOperation(t.Context(), operation("a", "")); err != nil {
		t.Errorf("operation: %v", err)
	}
	if _, err := s.SetState(t.Context(), vms[0].ID, Transition{To: model.StateDeleting}); err != nil {
		t.Errorf("intent: %v", err)
	}
	if err := s.DeleteVM(t.Context(), vms[0].ID); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteVM(t.Context(), vms[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.reservePath()); err != nil {
		t.Errorf("the reserve was not set aside again: %v", err)
	}
	create(t, s, "box")
}

// TestFullDiskWithoutReserve takes the reserve away for good: what frees space is still written, again and again.
func TestFullDiskWithoutReserve(t *testing.T) {
	t.Parallel()
	dir := testenv.SmallDisk(t, 4<<20)
	path := closed(t, dir)
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := os.Remove(s.reservePath()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 8<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	vms, err := s.VMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetState(t.Context(), vms[0].ID, Transition{To: model.StateStopped}); err != nil {
		t.Fatal(err)
	}
	for i := range 300 { // of several pages each: more than the journal holds before it starts over
		for _, to := range []model.State{model.StateStarting, model.StateRunning, model.StateStopping, model.StateStopped} {
			if _, err := s.SetState(t.Context(), vms[0].ID, Transition{To: to}); err != nil {
				t.Fatalf("round %d, %s: %v", i, to, err)
			}
		}
	}
	if _, err := s.SetState(t.Context(), vms[0].ID, Transition{To: model.StateDeleting}); err != nil {
		t.Error(err)
	}
	if err := s.DeleteVM(t.Context(), vms[0].ID); err != nil {
		t.Error(err)
	}
}

func TestOpenOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := testenv.SmallDisk(t, 4<<20)
	path := closed(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 8<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	vms, err := s.VMs(t.Context())
	if err != nil || len(vms) != 1 {
		t.Fatalf("%v, %v", vms, err)
	}
	if _, err := s.SetState(t.Context(), vms[0].ID, Transition{To: model.StateDeleting}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.DeleteVM(t.Context(), vms[0].ID), s.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".reserve"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there was room for a reserve on a full disk (%v)", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 8<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	_, err = Open(t.Context(), filepath.Join(dir, "fresh.db"))
	wantKind(t, err, model.ErrNoSpace)
	if left, _ := filepath.Glob(filepath.Join(dir, "fresh*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := connect(path, "rw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db := raw(t, path)
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil { // and its journal is in the file
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, at int64, data []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt(data, at)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
