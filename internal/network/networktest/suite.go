package networktest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
)

// Harness is what the suite needs of a driver. A driver is made anew more than once over the same host: it stands for the
// daemon after a crash.
type Harness struct {
	// New returns a driver over host, a directory for whatever it needs.
	New func(t *testing.T, host string) network.Driver
	// Policy is one that the driver takes.
	Policy string
	// Ports says that it publishes ports.
	Ports bool
	// Explains says that it tells what a policy does, by a process that really decides.
	Explains bool
	// Has says whether the host holds the VM's link; nil for a driver that makes nothing.
	Has func(t *testing.T, host string, id model.VMID) bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"SetTwiceIsOneLink", setTwice},
		{"LinkIsAFunctionOfTheSlot", functionOfSlot},
		{"ItCarriesItsPolicy", carries},
		{"BadPolicyKeepsTheOld", badPolicy},
		{"PortsComeAndGo", ports},
		{"ATakenPortChangesNothing", takenPort},
		{"NamesInAPolicy", domains},
		{"HostPortsOpenAndClose", hostPorts},
		{"GroupsKnowEachOther", groups},
		{"UpTwice", upTwice},
		{"ClearTwiceAndOfNothing", clearTwice},
		{"ClearDisbelievesTheHint", lyingHint},
		{"SweepKeepsWhatItShould", sweep},
		{"Canceled", canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := &world{h: h, host: t.TempDir()}
			w.restart(t)
			c.test(t, w)
		})
	}
}

type world struct {
	h    Harness
	host string
	network.Driver
}

func (w *world) restart(t *testing.T) { w.Driver = w.h.New(t, w.host) }

func (w *world) spec(slot int) network.Spec {
	return network.Spec{Slot: slot, Kind: w.Links()[0], Name: fmt.Sprintf("vm-%d", slot), Policy: w.h.Policy, Dir: w.host}
}

func (w *world) set(t *testing.T, id model.VMID, slot int) network.Link {
	t.Helper()
	link, err := w.Set(t.Context(), id, w.spec(slot))
	if err != nil {
		t.Fatal(err)
	}
	w.wantLink(t, id, true)
	return link
}

func (w *world) wantLink(t *testing.T, id model.VMID, want bool) {
	t.Helper()
	if w.h.Has == nil {
		return
	}
	if got := w.h.Has(t, w.host, id); got != want {
		t.Errorf("the host has the link of %s: %v, want %v", id, got, want)
	}
}

func setTwice(t *testing.T, w *world) {
	id := model.NewVMID()
	first := w.set(t, id, 1)
	w.restart(t)
	if second := w.set(t, id, 1); !reflect.DeepEqual(first, second) {
		t.Errorf("%+v became %+v", first, second)
	}
}

func functionOfSlot(t *testing.T, w *world) {
	one, two := w.set(t, model.NewVMID(), 1), w.set(t, model.NewVMID(), 2)
	if one.MAC == nil {
		return // no interface, so there is nothing that could collide
	}
	if one.MAC.String() == two.MAC.String() || one.Address == two.Address {
		t.Errorf("two VMs share an address: %+v, %+v", one, two)
	}
	if !one.Address.IsValid() || one.MAC[0]&0x03 != 0x02 {
		t.Errorf("not a usable link: its MAC must be local and unicast: %+v", one)
	}
}

func badPolicy(t *testing.T, w *world) {
	id := model.NewVMID()
	before := w.set(t, id, 1)
	s := w.spec(1)
	s.Policy = "no-such-policy"
	if _, err := w.Set(t.Context(), id, s); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	if after := w.set(t, id, 1); !reflect.DeepEqual(before, after) {
		t.Errorf("%+v became %+v", before, after)
	}
}

func carries(t *testing.T, w *world) {
	if !w.Carries(network.Wants{Policy: w.h.Policy, Ports: w.h.Ports}) {
		t.Errorf("it does not carry %q", w.h.Policy)
	}
}

// ports publishes one port after another on a live link. The host's port of the first stays what it was.
func ports(t *testing.T, w *world) {
	if !w.h.Ports {
		t.Skip("this driver publishes none")
	}
	id, s := model.NewVMID(), w.spec(1)
	want := func(n int) network.Link {
		t.Helper()
		link, err := w.Set(t.Context(), id, s)
		if err != nil {
			t.Fatal(err)
		}
		if len(link.Ports) != n {
			t.Fatalf("%d ports are published, want %d: %v", len(link.Ports), n, link.Ports)
		}
		for i, p := range link.Ports {
			if p.HostPort == 0 || p.GuestPort != s.Ports[i].GuestPort || p.UDP != s.Ports[i].UDP {
				t.Errorf("%s became %s", s.Ports[i], p)
			}
		}
		return link
	}
	want(0)
	s.Ports = []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}}
	first := want(1).Ports[0]
	s.Ports = append(s.Ports, model.PortForward{HostIP: model.Loopback(), GuestPort: 53, UDP: true})
	if again := want(2).Ports[0]; again != first {
		t.Errorf("%s became %s", first, again)
	}
	w.restart(t)
	s.Ports[0] = first
	want(2)
	s.Ports = nil
	want(0)
}

// takenPort wants a port that another VM has.
func takenPort(t *testing.T, w *world) {
	if !w.h.Ports {
		t.Skip("this driver publishes none")
	}
	one, two := model.NewVMID(), model.NewVMID()
	s := w.spec(1)
	s.Ports = []model.PortForward{{HostIP: model.Loopback(), GuestPort: 80}}
	first, err := w.Set(t.Context(), one, s)
	if err != nil {
		t.Fatal(err)
	}
	before := w.set(t, two, 2)
	s = w.spec(2)
	s.Ports = first.Ports
	if _, err := w.Set(t.Context(), two, s); !errors.Is(err, model.ErrExists) {
		t.Errorf("got %v, want ErrExists", err)
	}
	if after := w.set(t, two, 2); !reflect.DeepEqual(before, after) {
		t.Errorf("%+v became %+v", before, after)
	}
	if err := w.Clear(t.Context(), one, first.Handles); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Set(t.Context(), two, s); err != nil {
		t.Errorf("the port is not free again: %v", err)
	}
}

func upTwice(t *testing.T, w *world) {
	id := model.NewVMID()
	w.set(t, id, 1)
	for range 2 {
		if err := w.Up(t.Context(), id, model.Process{PID: 1}); err != nil {
			t.Fatal(err)
		}
		w.restart(t)
	}
}

func clearTwice(t *testing.T, w *world) {
	id := model.NewVMID()
	handles := w.set(t, id, 1).Handles
	for range 2 {
		if err := w.Clear(t.Context(), id, handles); err != nil {
			t.Fatal(err)
		}
		w.wantLink(t, id, false)
	}
	if err := w.Clear(t.Context(), model.NewVMID(), model.NetHandles{}); err != nil {
		t.Errorf("of a VM that never was: %v", err)
	}
	w.set(t, id, 1)
	w.restart(t)
	if err := w.Clear(t.Context(), id, model.NetHandles{}); err != nil {
		t.Errorf("with an empty hint: %v", err)
	}
	w.wantLink(t, id, false)
}

// lyingHint passes handles that name another VM's device: that one must live.
func lyingHint(t *testing.T, w *world) {
	mine, other := model.NewVMID(), model.NewVMID()
	w.set(t, mine, 1)
	handles := w.set(t, other, 2).Handles
	if err := w.Clear(t.Context(), mine, handles); err != nil {
		t.Fatal(err)
	}
	w.wantLink(t, mine, false)
	w.wantLink(t, other, true)
}

func sweep(t *testing.T, w *world) {
	gone, kept := model.NewVMID(), model.NewVMID()
	w.set(t, gone, 1)
	w.set(t, kept, 2)
	w.restart(t)
	for range 2 {
		if err := w.Sweep(t.Context(), map[model.VMID]bool{kept: true}); err != nil {
			t.Fatal(err)
		}
		w.wantLink(t, gone, false)
		w.wantLink(t, kept, true)
	}
}

func canceled(t *testing.T, w *world) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	id := model.NewVMID()
	if _, err := w.Set(ctx, id, w.spec(1)); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v, want ErrCanceled", err)
	}
	w.wantLink(t, id, false)
}
