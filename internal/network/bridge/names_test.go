package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/resolved"
	"banger/internal/helper/resolved/resolvedtest"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/testenv"
)

// world is a host whose names of VMs are looked up.
type world struct {
	t   *testing.T
	bus string
	in  model.InstanceID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.NeedTool(t, "getent")
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, bus: resolvedtest.Bus(t), in: installation(t.TempDir())}
	h := w.verbs()
	if problem := h.Problem(); problem != "" {
		t.Skip("not run: " + problem)
	}
	t.Cleanup(func() {
		if err := h.Sweep(context.Background(), nil); err != nil { // the test's own context has ended
			t.Error(err)
		}
	})
	return w
}

func (w *world) verbs() *hostnet.Host {
	return hostnet.New(hostnet.Options{Instance: w.in, Resolved: resolved.Options{Bus: w.bus}})
}

// daemon is the driver of a daemon that begins.
func (w *world) daemon() *Driver {
	d := New(Options{Verbs: w.verbs(), Publisher: publishes{}, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil))})
	w.t.Cleanup(func() { _ = d.Close() }) // again
	return d
}

func (w *world) set(d *Driver, id model.VMID, slot int, name string) network.Link {
	w.t.Helper()
	link, err := d.Set(w.t.Context(), id, network.Spec{Slot: slot, Name: name, Kind: network.LinkTap, Policy: "none"})
	if err != nil {
		w.t.Fatal(err)
	}
	return link
}

func (w *world) clear(d *Driver, id model.VMID) {
	w.t.Helper()
	if err := d.Clear(w.t.Context(), id, model.NetHandles{}); err != nil {
		w.t.Fatal(err)
	}
}

// lookUp has the C library look for a name, on a host whose resolver is the gateway.
func (w *world) lookUp(gateway netip.Addr, name string) string {
	w.t.Helper()
	conf := filepath.Join(w.t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "nameserver %s\noptions timeout:2 attempts:2\n", gateway), 0o644); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `mount --make-rprivate / && mount --bind "$0" /etc/resolv.conf && { getent ahostsv4 "$1" || true; }`, conf, name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.Output()
	if err != nil {
		w.t.Skipf("not run: needs a mount namespace: %v", err)
	}
	found, _, _ := strings.Cut(string(out), " ")
	return found
}

// told waits until the driver says that a VM is known by that name.
func (w *world) told(d *Driver, id model.VMID, want string) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); d.HostName(id) != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("it is known as %q, want %q", d.HostName(id), want)
		}
	}
}

// TestNames follows names through the life of VMs, of a daemon and of the bridge.
func TestNames(t *testing.T) {
	w := newWorld(t)
	fake := resolvedtest.Start(t, w.bus)
	d := w.daemon()
	a, b := model.NewVMID(), model.NewVMID()
	if got := d.HostName(a); got != "" {
		t.Errorf("before it is there it is known as %q", got)
	}
	link := w.set(d, a, 1, "box")
	address, gateway := link.Address.Addr().String(), link.Gateway
	finds := func(name, want string) {
		t.Helper()
		if got := w.lookUp(gateway, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	finds("box.vm", address)
	finds("other.vm", "")
	w.told(d, a, "box.vm")
	br, err := net.InterfaceByName("bb-" + string(w.in))
	if err != nil {
		t.Fatal(err)
	}
	if l, _ := fake.Link(br.Index); !slices.Equal(l.Domains, []string{"~vm"}) || !slices.Equal(l.Servers, []netip.Addr{gateway}) || l.DefaultRoute {
		t.Errorf("systemd-resolved was told %+v", l)
	}
	if n, err := w.verbs().LookNames(t.Context()); err != nil || n != (hostnet.Names{Gateway: gateway, Resolved: true, Told: true}) {
		t.Errorf("it looks as if %+v, %v", n, err)
	}
	calls := fake.Calls()

	second := w.set(d, b, 2, "pair").Address.Addr().String()
	w.set(d, a, 1, "renamed")
	finds("box.vm", "")
	finds("renamed.vm", address)
	finds("pair.vm", second)
	if got := fake.Calls(); got != calls {
		t.Errorf("it was told again, %d times", got-calls)
	}

	// A daemon that is gone answers nobody; the next one knows what it is told.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	finds("pair.vm", "")
	d = w.daemon()
	w.set(d, b, 2, "pair")
	w.told(d, b, "pair.vm")
	finds("pair.vm", second)
	finds("renamed.vm", "")
	w.set(d, a, 1, "box")

	w.clear(d, a)
	finds("box.vm", "")
	finds("pair.vm", second)
	if err := d.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := d.HostName(b); got != "" {
		t.Errorf("without the bridge it is known as %q", got)
	}
	if _, err := net.InterfaceByIndex(br.Index); err == nil {
		t.Error("the bridge, and what was said of it, are still there")
	}

	// The next bridge is another device.
	link = w.set(d, b, 3, "third")
	w.told(d, b, "third.vm")
	finds("third.vm", link.Address.Addr().String())
	w.clear(d, b)
}

// TestNamesWithoutResolved has a host without it: names are answered to who asks, and no VM is held up.
func TestNamesWithoutResolved(t *testing.T) {
	w := newWorld(t)
	d := w.daemon()
	id := model.NewVMID()
	link := w.set(d, id, 1, "box")
	if got := w.lookUp(link.Gateway, "box.vm"); got != link.Address.Addr().String() {
		t.Errorf("it is %q", got)
	}
	if got := d.HostName(id); got != "" {
		t.Errorf("programs find it by %q", got)
	}
	checks := d.CheckHost(t.Context())
	at := slices.IndexFunc(checks, func(c model.Check) bool { return c.Name == "names" })
	if at < 0 || !strings.Contains(checks[at].Detail, link.Gateway.String()) || checks[at].Status == model.CheckProblem {
		t.Errorf("the doctor says %+v", checks)
	}
	w.clear(d, id)
}

// TestNamesThatAreTaken has another program at the port: no VM is held up, and the doctor tells.
func TestNamesThatAreTaken(t *testing.T) {
	w := newWorld(t)
	resolvedtest.Start(t, w.bus)
	other, err := net.ListenPacket("udp4", "0.0.0.0:53")
	if err != nil {
		t.Skipf("not run: %v", err)
	}
	defer other.Close()
	d := w.daemon()
	id := model.NewVMID()
	w.set(d, id, 1, "box")
	checks := d.CheckHost(t.Context())
	if at := slices.IndexFunc(checks, func(c model.Check) bool { return c.Name == "names" }); at < 0 || checks[at].Status != model.CheckWarning {
		t.Errorf("the doctor says %+v", checks)
	}
	other.Close()
	w.set(d, id, 1, "box")
	w.told(d, id, "box.vm")
	w.clear(d, id)
}
