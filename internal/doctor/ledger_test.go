package doctor_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
	lock, err := os.Create(filepath.Join(dir, "vmm.lock"))
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

func leaks(t *testing.T, d dirs.Dirs, vms []model.VM) []doctor.Leak {
	t.Helper()
	return ledger(t, d, doctor.Rows{VMs: vms})
}

func ledger(t *testing.T, d dirs.Dirs, r doctor.Rows) []doctor.Leak {
	t.Helper()
	found, err := doctor.Ledger(t.Context(), d, r)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnInstallationInOrderHasNoLeaks(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	// Look-alikes that are not ours: another installation's lock, and a name like a temporary file's that is none.
	hold(t, filepath.Join(t.TempDir(), "vms", string(unknown)))
	write(t, filepath.Join(d.Images(), "notes.tmp"))
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
		"a netd that hides": {func(t *testing.T, d dirs.Dirs) string {
			lockFile(t, d.NetdLock())
			return d.NetdSocket()
		}, "socket"},
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
			for _, l := range leaks(t, d, vms) {
				if l.Kind == c.kind && strings.Contains(l.What, what) {
					return
				}
			}
			t.Errorf("the ledger does not name %s %s", c.kind, what)
		})
	}
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

func TestANetdIsNeededByVMsOrADaemon(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	lockFile(t, d.NetdLock())
	listen(t, d.NetdSocket())
	listen(t, d.NetdTaps())
	if found := leaks(t, d, vms); len(found) > 0 {
		t.Errorf("a VM needs it: %v", found)
	}
	d.State = t.TempDir()
	lockFile(t, d.NetdLock())
	listen(t, d.NetdSocket())
	listen(t, d.NetdTaps())
	if found := leaks(t, d, nil); len(found) != 1 || found[0].What != "banger-netd" {
		t.Errorf("nobody needs it: %v", found)
	}
	listen(t, d.Socket())
	if found := leaks(t, d, nil); len(found) > 0 {
		t.Errorf("the daemon keeps it: %v", found)
	}
}
