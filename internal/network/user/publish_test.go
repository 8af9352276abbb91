package user

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/network"
)

// TestPublishing has ports of a VM whose packets another driver carries.
func TestPublishing(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := newDriver(t, host)
	id := model.NewVMID()
	what := func(name string, ports ...model.PortForward) network.Direct {
		return network.Direct{
			Name: name, Address: netip.MustParseAddr("198.18.4.2"), Gateway: netip.MustParseAddr("198.18.4.1"), Policy: "public", Ports: ports,
		}
	}
	if err := d.Withdraw(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(host, "netd.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a netd was started for nothing: %v", err)
	}
	v := model.VM{ID: id, Name: "box", Network: "bridge", State: model.StateRunning}
	v.Spec.Ports = []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}}
	if got := leaks(t, d, v); got != "row "+string(id) {
		t.Errorf("without its ports: %q", got)
	}
	published, err := d.Publish(t.Context(), id, what("box", v.Spec.Ports...))
	first := published.Ports
	if err != nil || len(first) != 1 || first[0].HostPort == 0 || len(published.Redirects) != 2 {
		t.Fatalf("%v, %v", published, err)
	}
	more := append(v.Spec.Ports, model.PortForward{HostIP: model.Loopback(), GuestPort: 53, UDP: true})
	again, err := d.Publish(t.Context(), id, what("box", more...))
	if err != nil || len(again.Ports) != 2 || again.Ports[0] != first[0] || !again.Ports[1].UDP || !slices.Equal(again.Redirects, published.Redirects) {
		t.Errorf("%v became %v, %v", published, again, err)
	}
	if got := leaks(t, d, v); got != "" {
		t.Errorf("in order, and found: %s", got)
	}
	if _, err := d.Publish(t.Context(), model.NewVMID(), what("other", first...)); !errors.Is(err, model.ErrExists) {
		t.Errorf("a port that is taken: %v", err)
	}
	// A netd that is killed is followed by another one that is told of it.
	if err := netdOf(t, host).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, err = d.Publish(t.Context(), id, what("box", more...)); err != nil || again.Ports[0] != first[0] || !slices.Equal(again.Redirects, published.Redirects) {
		t.Errorf("after its death: %v, %v", again, err)
	}
	if err := netdOf(t, host).Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := d.Publish(t.Context(), model.NewVMID(), what("other", v.Spec.Ports...))
	if err != nil || other.Ports[0].HostPort == first[0].HostPort {
		t.Errorf("another VM got %v, %v, and the first one has %v", other, err, first)
	}
	refused := []model.Denial{{Protocol: "tcp", Destination: "10.0.0.1:80", Count: 3}}
	if told, err := d.Explain(t.Context(), id, refused); err != nil || len(told) != 2 || told[1].Destination != refused[0].Destination || told[1].Count != 3 {
		t.Errorf("what was refused is %+v, %v", told, err)
	}
	if err := d.Withdraw(t.Context(), id); err != nil {
		t.Error(err)
	}
	if got := leaks(t, d, v); got == "" {
		t.Error("nothing of it is published, and no leak was found")
	}
}

// freely listens at addresses that need not be there.
var freely = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
}}

// TestAnotherNetdElsewhereIsTold has somebody take where a netd listened, which was killed: whoever made redirects to there
// hears of it.
func TestAnotherNetdElsewhereIsTold(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := driverOf(t, host, "real-netd")
	moved := make(chan model.VMID, 10)
	d.Watch(func(id model.VMID) { moved <- id })
	id := model.NewVMID()
	what := network.Direct{Name: "box", Address: netip.MustParseAddr("198.18.4.2"), Gateway: netip.MustParseAddr("198.18.4.1"), Policy: "public"}
	first, err := d.Publish(t.Context(), id, what)
	if err != nil || len(first.Redirects) != 2 {
		t.Fatalf("%+v, %v", first, err)
	}
	kill := func() {
		t.Helper()
		if err := netdOf(t, host).Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	if again, err := d.Publish(t.Context(), id, what); err != nil || !slices.Equal(again.Redirects, first.Redirects) {
		t.Errorf("%v became %v, %v", first, again, err)
	}
	kill()
	l, err := freely.Listen(t.Context(), "tcp4", netip.AddrPortFrom(what.Gateway, first.Redirects[0].To).String())
	if err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-moved:
		if got != id {
			t.Errorf("moved is %s", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	l.Close()
	second, err := d.Publish(t.Context(), id, what)
	if err != nil || second.Redirects[0].To == first.Redirects[0].To {
		t.Errorf("%v became %v, %v", first, second, err)
	}
}
