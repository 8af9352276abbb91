package jail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
)

// ports are those of the world's installation, on a bridge of the network that the tests have.
func (w *world) ports() *hostnet.Host {
	w.t.Helper()
	n := hostnet.New(hostnet.Options{Instance: w.o.Instance, UID: w.o.UID})
	if problem := n.Problem(); problem != "" {
		w.t.Skip("not run: " + problem)
	}
	return n
}

// attach gives a VM a port that is one end of a wire.
func (w *world) attach(id model.VMID, slot int) hostnet.Port {
	w.t.Helper()
	policy, err := model.ParsePolicy("public")
	if err != nil {
		w.t.Fatal(err)
	}
	n := w.ports()
	w.t.Cleanup(func() {
		if err := n.Sweep(context.Background(), nil); err != nil {
			w.t.Error(err)
		}
	})
	port, err := n.Attach(w.t.Context(), id, slot, hostnet.Rules{Policy: policy, Wire: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return port
}

// detach takes the only port away, of which nothing may be left then.
func (w *world) detach(id model.VMID, port hostnet.Port) {
	w.t.Helper()
	if err := w.ports().Detach(w.t.Context(), id); err != nil {
		w.t.Error(err)
	}
	mark := port.Tap[2 : len(port.Tap)-2] // of an ordinary user's devices: see docs/state.md
	all, err := net.Interfaces()
	if err != nil {
		w.t.Error(err)
	}
	for _, i := range all {
		if strings.Contains(i.Name, mark) {
			w.t.Errorf("%s is left", i.Name)
		}
	}
}

func (w *world) wired() Spec {
	s := w.spec()
	s.Network = NetworkWire
	return s
}

func TestAVMMOnABridge(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	port := w.attach(id, 1)
	mark := strings.TrimPrefix(port.Tap, "bt")
	vm, err := w.start(id, w.wired())
	if err != nil {
		t.Fatalf("%v; it says: %s", err, said(w))
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	theirs, terr := os.Readlink("/proc/" + strconv.Itoa(vm.PID) + "/ns/net")
	if err := errors.Join(err, terr); err != nil || ours == theirs {
		t.Errorf("it is in the host's network: %s, %v", theirs, err)
	}
	if got := ask(t, vm, "network"); !strings.Contains(got, "bw"+mark) || !strings.Contains(got, Tap) || strings.Contains(got, port.Tap) {
		t.Errorf("it sees %q", got)
	}
	for _, name := range []string{"all", "default", Tap, joint, "bw" + mark} {
		if got := inside(t, vm, "cat", "/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6"); got != "1\n" {
			t.Errorf("%s has IPv6: %q", name, got)
		}
	}
	said := inside(t, vm, "ip", "-o", "-d", "link", "show")
	for _, want := range []string{fmt.Sprintf("user %d", vm.UID), "persist on", "stp_state 0", "mcast_snooping 0", fmt.Sprintf("mtu %d", port.MTU), "learning off"} {
		if !strings.Contains(said, want) {
			t.Errorf("not %q: %s", want, said)
		}
	}
	if got := inside(t, vm, "ip", "address"); strings.Contains(got, "inet") {
		t.Errorf("it has an address: %s", got)
	}
	// The tap is the VMM's, without any capability, and leads to the gateway, by the port's rules.
	if got := ask(t, vm, fmt.Sprintf("arp %s %s %s", port.MAC, port.Address, port.Gateway)); got != model.HardwareAddress(w.o.Instance, 0).String() {
		t.Errorf("the gateway is at %q", got)
	}
	if got := ask(t, vm, fmt.Sprintf("arp 02:00:00:00:00:09 %s %s", port.Address, port.Gateway)); !strings.HasPrefix(got, "error") {
		t.Errorf("from an address that is not its own, the gateway is at %q", got)
	}
	if _, err := w.Start(t.Context(), model.NewVMID(), w.wired(), w.file(0, os.O_RDWR), w.fifo()); !errors.Is(err, model.ErrDenied) {
		t.Errorf("another VM gets the wire: %v", err)
	}
	// When it ends, so does all of it.
	if err := w.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := net.InterfaceByName(port.Tap); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the wire stays")
		}
	}
	if err := w.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
	w.nothing()
	w.detach(id, port)
}

// inside runs a program of the host's in the VMM's network namespace.
func inside(t *testing.T, vm VM, argv ...string) string {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(vm.PID) + "/ns/net"}, argv...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// TestAStartThatFailsTakesTheWireAlong, and the next one finds another.
func TestAStartThatFailsTakesTheWireAlong(t *testing.T) {
	t.Parallel()
	w, id := newWorld(t, 12345), model.NewVMID()
	port := w.attach(id, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := w.Start(ctx, id, w.wired(), w.file(0, os.O_RDWR), w.fifo()); err == nil {
		t.Error("it was started in no time")
	}
	if err := os.WriteFile(w.o.Programs+"/"+Firecracker, []byte("none"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := w.start(id, w.wired()); err == nil {
		t.Error("what is no program was started")
	}
	w.nothing()
	w.detach(id, port)
}
