package user

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// newDriver is a driver over the installation in host, whose netd is the test program run again.
func newDriver(t *testing.T, host string) *Driver {
	t.Helper()
	return driverOf(t, host, "fake-netd")
}

func driverOf(t *testing.T, host, netd string) *Driver {
	t.Helper()
	program := filepath.Join(host, netd)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, program); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	d := New(Options{Dirs: dirs.Dirs{State: host}, Instance: "abcdefgh", Program: program, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := d.Sweep(context.Background(), nil); err != nil {
			t.Error(err)
		}
		d.Close()
	})
	return d
}

// netdOf takes hold of the netd of an installation.
func netdOf(t *testing.T, host string) *procs.Handle {
	t.Helper()
	conn, err := unixsocket.Dial(t.Context(), filepath.Join(host, "netd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, pid, err := unixsocket.PeerCred(conn)
	if err != nil {
		t.Fatal(err)
	}
	p, err := procs.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := procs.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func has(t *testing.T, d *Driver, id model.VMID) bool {
	t.Helper()
	_, err := d.Denied(t.Context(), id)
	if err != nil && !errors.Is(err, model.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func TestSuite(t *testing.T) {
	t.Parallel()
	networktest.Run(t, networktest.Harness{
		New:    func(t *testing.T, host string) network.Driver { return newDriver(t, host) },
		Policy: "public",
		Ports:  true,
		Has:    func(t *testing.T, host string, id model.VMID) bool { return has(t, newDriver(t, host), id) },
	})
}

// TestConformanceOfWhatDecides has netd itself.
func TestConformanceOfWhatDecides(t *testing.T) {
	networktest.Run(t, networktest.Harness{
		New:    func(t *testing.T, host string) network.Driver { return driverOf(t, host, "real-netd") },
		Policy: "public", Ports: true, Explains: true,
		Has: func(t *testing.T, host string, id model.VMID) bool { return has(t, driverOf(t, host, "real-netd"), id) },
	})
}

func spec(host string, slot int) network.Spec {
	return network.Spec{Slot: slot, Kind: network.LinkSocket, Name: fmt.Sprintf("vm-%d", slot), Policy: "public", Dir: host}
}

func TestKilledNetdIsToldAgain(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	one, two := model.NewVMID(), model.NewVMID()
	s := spec(host, 1)
	s.Ports = []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}}
	if _, err := d.Set(t.Context(), one, s); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Set(t.Context(), two, spec(host, 2)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		n := netdOf(t, host)
		if err := n.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !has(t, d, one) || !has(t, d, two) {
			t.Error("the new netd was not told of the VMs")
		}
		if n.Process() == netdOf(t, host).Process() {
			t.Fatal("it was not killed")
		}
	}
	// The host's port is the one that was taken at first.
	s.Ports[0].HostPort = 40000
	if link, err := d.Set(t.Context(), one, s); err != nil || link.Ports[0].HostPort != 40000 {
		t.Errorf("%+v, %v", link.Ports, err)
	}
}

// TestTapIsToldAgain checks that netd learns whose tap it is once the VMM runs, and again after it was killed.
func TestTapIsToldAgain(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	id, self := model.NewVMID(), mustSelf(t)
	told := func(want int) {
		t.Helper()
		d.mu.Lock()
		port := d.ports[id]
		d.mu.Unlock()
		if got := int(port.GetTap().GetPid()); got != want {
			t.Errorf("the driver remembers a tap of process %d, not %d", got, want)
		}
		// The stand-in answers with the port of what it was told.
		verdict, err := d.Check(t.Context(), id, fmt.Sprintf("tap:%d", want), false)
		if err != nil || !verdict.Allowed {
			t.Errorf("netd was told of another tap than that of %d: %+v, %v", want, verdict, err)
		}
	}
	s := spec(host, 1)
	s.Kind = network.LinkOwnTap
	link, err := d.Set(t.Context(), id, s)
	if err != nil || link.Kind != network.LinkOwnTap || link.Tap == "" {
		t.Fatalf("%+v, %v", link, err)
	}
	told(0)
	if err := d.Up(t.Context(), id, self); err != nil {
		t.Fatal(err)
	}
	told(self.PID)
	s.Policy = "none" // a live change leaves the tap
	if _, err := d.Set(t.Context(), id, s); err != nil {
		t.Fatal(err)
	}
	told(self.PID)
	if err := netdOf(t, host).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	told(self.PID)
	if err := d.Clear(t.Context(), id, model.NetHandles{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Set(t.Context(), id, s); err != nil {
		t.Fatal(err)
	}
	told(0) // the next VMM's is another
	if err := d.Clear(t.Context(), id, model.NetHandles{}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Set(t.Context(), id, spec(host, 1)); err != nil {
		t.Fatal(err)
	}
	if err := d.Up(t.Context(), id, self); err != nil {
		t.Fatal(err)
	}
	told(0) // it listens on a socket
}

func mustSelf(t *testing.T) model.Process {
	t.Helper()
	self, err := procs.Self()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func TestNetdOutlivesTheDaemonForItsVMs(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	first := newDriver(t, host)
	id := model.NewVMID()
	if _, err := first.Set(t.Context(), id, spec(host, 1)); err != nil {
		t.Fatal(err)
	}
	n := netdOf(t, host)
	first.Close()
	second := newDriver(t, host)
	if !has(t, second, id) {
		t.Error("the port is gone with the daemon")
	}
	if err := second.Clear(t.Context(), id, model.NetHandles{}); err != nil {
		t.Fatal(err)
	}
	second.Close()
	select {
	case <-n.Done():
	case <-time.After(30 * time.Second):
		t.Error("netd goes on for nobody")
	}
}

// TestOtherVersionIsReplaced whether it speaks what we do or not; one that is no better than what is there is used, if it can be.
func TestOtherVersionIsReplaced(t *testing.T) {
	t.Parallel()
	for _, other := range []string{"other-protocol", "other-version"} {
		host := t.TempDir()
		d := newDriver(t, host)
		old := leave(t, host, other)
		id := model.NewVMID()
		if _, err := d.Set(t.Context(), id, spec(host, 1)); err != nil {
			t.Fatal(other, err)
		}
		if err := old.Wait(); err != nil {
			t.Errorf("%s: it ended with %v", other, err)
		}
		if !has(t, d, id) {
			t.Errorf("%s: it has no port", other)
		}
	}
}

// TestOnlyAnotherVersionIsThere: half of an upgrade replaces nothing for ever.
func TestOnlyAnotherVersionIsThere(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	if err := os.WriteFile(filepath.Join(host, "other-version"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Set(t.Context(), model.NewVMID(), spec(host, 1)); err != nil {
		t.Error(err)
	}
	host = t.TempDir()
	d = newDriver(t, host)
	if err := os.WriteFile(filepath.Join(host, "other-protocol"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Set(t.Context(), model.NewVMID(), spec(host, 1)); !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), "install banger again") {
		t.Errorf("%v", err)
	}
}

// leave starts a netd as a former daemon has, which is other than ours.
func leave(t *testing.T, host, other string) *exec.Cmd {
	t.Helper()
	if err := os.WriteFile(filepath.Join(host, other), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	says, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer says.Close()
	defer theirs.Close()
	cmd := exec.Command(filepath.Join(host, "fake-netd"))
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(says).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	return cmd
}

func TestNoNetd(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	if err := d.Clear(t.Context(), model.NewVMID(), model.NetHandles{}); err != nil {
		t.Errorf("Clear: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(host, "netd.sock")); err == nil {
		t.Error("a netd was started to clear nothing")
	}
	for program, want := range map[string]error{"/bin/true": model.ErrUnavailable, filepath.Join(host, "missing"): nil} {
		d := New(Options{Dirs: dirs.Dirs{State: host}, Program: program, Log: slog.New(slog.DiscardHandler)})
		_, err := d.Set(t.Context(), model.NewVMID(), spec(host, 1))
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", program, err, want)
		}
		d.Close()
	}
}

func TestLinkBySlot(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, slot := range []int{1, 2, 254, 255, 65534, 65535, 65536, maxSlot} {
		link, err := linkOf("abcdefgh", spec("/dir", slot))
		if err != nil {
			t.Fatal(err)
		}
		a := link.Address.Addr()
		if seen[a.String()] || a == gateway() || a.As4()[0] != 198 || a.As4()[1] != 18 && a.As4()[1] != 19 {
			t.Errorf("slot %d has %s", slot, a)
		}
		seen[a.String()] = true
	}
	for _, slot := range []int{0, -1, maxSlot + 1} {
		if _, err := linkOf("abcdefgh", spec("/dir", slot)); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
}

func TestClearTakesTheSocketOfADeadVMM(t *testing.T) {
	t.Parallel()
	d := newDriver(t, t.TempDir())
	id := model.NewVMID()
	s := spec(d.options.Dirs.VM(id), 1)
	link, err := d.Set(t.Context(), id, s)
	if err == nil {
		err = errors.Join(os.MkdirAll(s.Dir, 0o700), os.WriteFile(link.Socket, nil, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Clear(t.Context(), id, model.NetHandles{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(link.Socket); err == nil {
		t.Error("it is still there")
	}
}
