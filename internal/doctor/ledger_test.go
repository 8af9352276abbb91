package doctor_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"banger/internal/dirs"
	"banger/internal/doctor"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

const (
	running = model.VMID("aaaaaaaaaaaaaaaa")
	stopped = model.VMID("bbbbbbbbbbbbbbbb")
	unknown = model.VMID("cccccccccccccccc")
)

// installation is a state directory with one running and one stopped VM, in order.
func installation(t *testing.T) (dirs.Dirs, []model.VM) {
	t.Helper()
	root := t.TempDir()
	d := dirs.Dirs{State: root + "/state", Data: root + "/data", Cache: root + "/cache", Config: root + "/config"}
	vms := []model.VM{{ID: running, Name: "on", State: model.StateRunning}, {ID: stopped, Name: "off", State: model.StateStopped}}
	for _, v := range vms {
		write(t, filepath.Join(d.VM(v.ID), "root.qcow2"))
		write(t, filepath.Join(d.VM(v.ID), "work.ext4"))
	}
	write(t, filepath.Join(d.VM(running), "handles.json"))
	hold(t, d.VM(running))
	return d, vms
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// hold starts a process whose standard input is the lock in dir, as a VMM's is, and returns its pid.
func hold(t *testing.T, dir string) int {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return holdFile(t, filepath.Join(dir, "vmm.lock"))
}

// holdFile starts a process whose standard input is the file.
func holdFile(t *testing.T, path string) int {
	t.Helper()
	lock, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	cmd := exec.Command("sleep", "600")
	cmd.Stdin = lock
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed
	})
	return cmd.Process.Pid
}

func leaks(t *testing.T, d dirs.Dirs, vms []model.VM, drivers ...any) []model.Leak {
	t.Helper()
	return ledger(t, d, doctor.Rows{VMs: vms}, drivers...)
}

func ledger(t *testing.T, d dirs.Dirs, r doctor.Rows, drivers ...any) []model.Leak {
	t.Helper()
	found, err := doctor.Ledger(t.Context(), d, r, drivers...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnInstallationInOrderHasNoLeaks(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	// Look-alikes that are not ours: another installation's lock, whose name even begins like this one's, a name like a
	// temporary file's that is none, a directory that is no VM's, and a process that only reads a VM's log.
	hold(t, filepath.Join(t.TempDir(), "vms", string(unknown)))
	hold(t, filepath.Join(d.State+"-2", "vms", string(unknown)))
	write(t, filepath.Join(d.Images(), "notes.tmp"))
	write(t, filepath.Join(d.VMs(), "notes", "root.qcow2"))
	write(t, filepath.Join(d.State, "notes"))
	holdFile(t, filepath.Join(d.VM(stopped), "console.log"))
	if found := leaks(t, d, vms); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestEachPlantedLeakIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plant func(t *testing.T, d dirs.Dirs) (what string)
		kind  string
	}{
		"a VMM without a row":   {func(t *testing.T, d dirs.Dirs) string { return strconv.Itoa(hold(t, d.VM(unknown))) }, "process"},
		"a VMM of a stopped VM": {func(t *testing.T, d dirs.Dirs) string { return strconv.Itoa(hold(t, d.VM(stopped))) }, "process"},
		"a directory without a row": {func(t *testing.T, d dirs.Dirs) string {
			write(t, filepath.Join(d.VM(unknown), "root.qcow2"))
			return d.VM(unknown)
		}, "directory"},
		"a VMM whose directory was removed": {func(t *testing.T, d dirs.Dirs) string {
			pid := hold(t, d.VM(unknown))
			if err := os.RemoveAll(d.VM(unknown)); err != nil {
				t.Fatal(err)
			}
			return strconv.Itoa(pid)
		}, "process"},
		"a second VMM": {func(t *testing.T, d dirs.Dirs) string {
			hold(t, d.VM(running))
			return ""
		}, "process"},
		"a running VM without a VMM": {func(t *testing.T, d dirs.Dirs) string {
			if err := os.Rename(d.VM(running), d.VM(unknown)); err != nil {
				t.Fatal(err)
			}
			return string(running)
		}, "row"},
		"a work disk that is gone": {func(t *testing.T, d dirs.Dirs) string {
			if err := os.Remove(filepath.Join(d.VM(stopped), "work.ext4")); err != nil {
				t.Fatal(err)
			}
			return string(stopped)
		}, "row"},
		"a dead daemon's socket": {func(t *testing.T, d dirs.Dirs) string {
			listen(t, d.Socket())
			return d.Socket()
		}, "socket"},
		"a dead daemon's work": {func(t *testing.T, d dirs.Dirs) string {
			write(t, filepath.Join(d.Scratch(), "plan-1", "x"))
			return filepath.Join(d.Scratch(), "plan-1")
		}, "directory"},
		"a database that was being made": {func(t *testing.T, d dirs.Dirs) string {
			write(t, d.Database()+".new")
			return d.Database() + ".new"
		}, "file"},
		"a socket of a stopped VM": {func(t *testing.T, d dirs.Dirs) string {
			path := filepath.Join(d.VM(stopped), "qmp")
			l, err := unixsocket.Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return path
		}, "socket"},
		"a temporary file": {func(t *testing.T, d dirs.Dirs) string {
			path := filepath.Join(d.VM(stopped), ".root.qcow2.123.tmp")
			write(t, path)
			return path
		}, "file"},
		"handles of a stopped VM": {func(t *testing.T, d dirs.Dirs) string {
			write(t, filepath.Join(d.VM(stopped), "handles.json"))
			return string(stopped)
		}, "handles"},
		"a row without a directory": {func(t *testing.T, d dirs.Dirs) string {
			if err := os.RemoveAll(d.VM(stopped)); err != nil {
				t.Fatal(err)
			}
			return string(stopped)
		}, "row"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, vms := installation(t)
			what := c.plant(t, d)
			if found := leaks(t, d, vms); !named(found, c.kind, what) {
				t.Errorf("the ledger does not name %s %s: %v", c.kind, what, found)
			}
		})
	}
}

func named(found []model.Leak, kind, what string) bool {
	return slices.ContainsFunc(found, func(l model.Leak) bool { return l.Kind == kind && (l.What == what || what == "") })
}

// lockFile holds the flock of a file until the test ends.
func lockFile(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := procs.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
}

func listen(t *testing.T, path string) {
	t.Helper()
	l, err := unixsocket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func TestWhatADaemonHasWhileItLives(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	lockFile(t, d.Lock())
	listen(t, d.Socket())
	write(t, filepath.Join(d.Scratch(), "plan-1", "x"))
	if found := leaks(t, d, vms); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

func TestAStateDirectoryByALink(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(d.State), link); err != nil {
		t.Fatal(err)
	}
	d.State = filepath.Join(link, "state")
	if found := leaks(t, d, vms); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	pid := hold(t, d.VM(unknown))
	if found := leaks(t, d, vms); !named(found, "process", strconv.Itoa(pid)) {
		t.Errorf("found %v, and not process %d", found, pid)
	}
}

func TestVMsThatAreBeingChanged(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	for id, state := range map[model.VMID]model.State{"dddddddddddddddd": model.StateCreating, "eeeeeeeeeeeeeeee": model.StateStarting, "ffffffffffffffff": model.StateDeleting} {
		write(t, filepath.Join(d.VM(id), ".root.qcow2.123.tmp"))
		vms = append(vms, model.VM{ID: id, Name: state.String(), State: state})
	}
	if found := leaks(t, d, vms); len(found) > 0 {
		t.Errorf("found %v", found)
	}
}

// witness is a driver that tells of a leak of its own.
type witness struct{ err error }

func (w witness) Leaks(_ context.Context, vms []model.VM) ([]model.Leak, error) {
	return []model.Leak{{Kind: "port", What: strconv.Itoa(len(vms))}}, w.err
}

func TestDriversTellTheirOwn(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	if found := leaks(t, d, vms, "silent", witness{}); len(found) != 1 || !named(found, "port", "2") {
		t.Errorf("found %v", found)
	}
	broken := errors.New("broken")
	if _, err := doctor.Ledger(t.Context(), d, doctor.Rows{VMs: vms}, witness{broken}); !errors.Is(err, broken) {
		t.Errorf("one that cannot look: %v", err)
	}
}
