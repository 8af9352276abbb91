package user

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/procs"
)

// leaks are what the driver tells of an installation in host, a line each.
func leaks(t *testing.T, d *Driver, vms ...model.VM) string {
	t.Helper()
	found, err := d.Leaks(t.Context(), vms)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range found {
		lines = append(lines, l.Kind+" "+l.What)
	}
	return strings.Join(lines, "\n")
}

// vmOf is a VM of this driver's with a port and a name.
func vmOf(t *testing.T, d *Driver, host string, state model.State, slot int) model.VM {
	t.Helper()
	v := model.VM{ID: model.NewVMID(), Name: spec(host, slot).Name, Network: "user", State: state}
	s := spec(host, slot)
	s.Ports = []model.PortForward{{HostIP: model.Loopback(), HostPort: uint16(20000 + slot), GuestPort: 80}}
	if _, err := d.Set(t.Context(), v.ID, s); err != nil {
		t.Fatal(err)
	}
	return v
}

// daemonLock makes the installation one whose daemon lives.
func daemonLock(t *testing.T, d *Driver) {
	t.Helper()
	lock, err := procs.TryLock(d.options.Dirs.Lock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
}

func TestLeaksOfWhatNetdHas(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	on := vmOf(t, d, host, model.StateRunning, 1)
	if got := leaks(t, d, on); got != "" {
		t.Errorf("in order, and found:\n%s", got)
	}
	off := vmOf(t, d, host, model.StateStopped, 2)
	vmOf(t, d, host, model.StateRunning, 3) // without a row
	want := []string{"name vm-2", "port 127.0.0.1:20002/tcp", "name vm-3", "port 127.0.0.1:20003/tcp"}
	got := leaks(t, d, on, off)
	for _, w := range want {
		if !strings.Contains(got+"\n", w+"\n") {
			t.Errorf("%q is not among:\n%s", w, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != len(want) {
		t.Errorf("%d leaks instead of %d:\n%s", n, len(want), got)
	}
	lost := model.VM{ID: model.NewVMID(), Name: "lost", Network: "user", State: model.StateRunning}
	others := model.VM{ID: model.NewVMID(), Name: "others", Network: "none", State: model.StateRunning}
	others.Spec.Network = model.PolicyNone
	starting := model.VM{ID: model.NewVMID(), Name: "starting", Network: "user", State: model.StateStarting}
	if got := leaks(t, d, on, lost, others, starting); !strings.HasPrefix(got, "row "+string(lost.ID)+"\nname ") {
		t.Errorf("of a VM that netd does not know:\n%s", got)
	}
	others.Network, others.Spec.Network = "bridge", model.PolicyPublic
	if got := leaks(t, d, on, others); !strings.Contains(got, "row "+string(others.ID)) {
		t.Errorf("of a VM whose packets others carry and whose questions nobody answers:\n%s", got)
	}
}

func TestLeaksOfNetdItself(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	if got := leaks(t, d); got != "" {
		t.Errorf("nothing runs, and found:\n%s", got)
	}
	v := vmOf(t, d, host, model.StateRunning, 1)
	pid := netdOf(t, host).Process().PID
	if got := leaks(t, d); !strings.HasPrefix(got, "process ") {
		t.Errorf("nobody needs it: %q", got)
	} else if holder, err := procs.LockHolder(d.options.Dirs.NetdLock()); err != nil || holder != pid {
		t.Errorf("the lock is held by %d, %v, and netd is %d", holder, err, pid)
	}
	daemonLock(t, d)
	if got := leaks(t, d); strings.Contains(got, "process") {
		t.Errorf("the daemon keeps it: %q", got)
	}
	socket := filepath.Join(host, "netd.sock")
	if err := os.Rename(socket, socket+".away"); err != nil {
		t.Fatal(err)
	}
	if got := leaks(t, d, v); got != "socket "+socket {
		t.Errorf("it hides: %q", got)
	}
	if err := os.Rename(socket+".away", socket); err != nil {
		t.Fatal(err)
	}
}

func TestLeaksOfADeadNetd(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	v := vmOf(t, d, host, model.StateRunning, 1)
	d.Close() // it would start another one
	if err := netdOf(t, host).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := leaks(t, d, v); got != "row "+string(v.ID)+"\nsocket "+filepath.Join(host, "netd.sock")+"\nsocket "+filepath.Join(host, "netd.taps") {
		t.Errorf("a killed one left:\n%s", got)
	}
}
