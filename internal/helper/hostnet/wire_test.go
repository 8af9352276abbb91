package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"banger/internal/model"
	"github.com/vishvananda/netlink"
)

// setWire makes a VM's port one end of a wire.
func (h host) setWire(t *testing.T, n *Host, id model.VMID, slot int, policy string) (p Port) {
	t.Helper()
	parsed, err := model.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	h.do(func() { p, err = n.Attach(t.Context(), id, slot, Rules{Policy: parsed, Wire: true}) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// freeEndOf is what FreeEnd finds.
func (h host) freeEndOf(t *testing.T, n *Host, id model.VMID, slot int) (end netlink.Link, err error) {
	t.Helper()
	h.do(func() {
		var links *netlink.Handle
		if links, err = handle(t.Context()); err == nil {
			defer links.Close()
			end, err = n.FreeEnd(links, id, slot)
		}
	})
	return end, err
}

// wired is a VM whose jail has taken its wire's end. Its close is what its VMM's end does.
func (h host) wired(t *testing.T, n *Host, id model.VMID, slot int, policy string) guest {
	t.Helper()
	g := guest{id: id, port: h.setWire(t, n, id, slot, policy)}
	end, err := h.freeEndOf(t, n, id, slot)
	if err != nil {
		t.Fatal(err)
	}
	g.space = openSpace(t)
	g.close = sync.OnceFunc(func() { close(g.calls) })
	t.Cleanup(g.close)
	there := g.handle(t)
	h.do(func() {
		links, err := handle(t.Context())
		if err == nil {
			defer links.Close()
			err = links.LinkSetNsFd(end, int(there.Fd()))
		}
		if err != nil {
			t.Error(err)
		}
	})
	there.Close()
	g.ip(t, "link set "+end.Attrs().Name+" name eth0", fmt.Sprintf("link set eth0 address %s mtu %d", g.port.MAC, g.port.MTU), "link set eth0 up",
		fmt.Sprintf("addr add %s/32 dev eth0", g.port.Address), fmt.Sprintf("route add default via %s dev eth0 onlink", g.port.Gateway))
	return g
}

func TestAWire(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "none")
	before := h.listing(t)
	id := model.NewVMID()
	p := h.setWire(t, n, id, 2, "public")
	if p.Tap != n.tap(2) {
		t.Errorf("the port is %s", p.Tap)
	}
	said := h.shows(p.Tap)
	for _, want := range []string{"veth", "master " + n.bridge(), "isolated on", "learning off", "flood off", fmt.Sprintf("mtu %d", p.MTU), n.alias(id)} {
		if !strings.Contains(said, want) {
			t.Errorf("%s is not %q: %s", p.Tap, want, said)
		}
	}
	end, err := h.freeEndOf(t, n, id, 2)
	if err != nil || end.Attrs().Name != n.freeEnd(2) || end.Attrs().MTU != p.MTU || end.Attrs().Flags&net.FlagUp != 0 {
		t.Errorf("the free end is %+v, %v", end, err)
	}
	h.hasNoIPv6(t, n.bridge(), p.Tap, n.freeEnd(2))
	h.do(func() {
		if _, err := n.Open(t.Context(), id); !errors.Is(err, model.ErrState) {
			t.Errorf("it can be opened: %v", err)
		}
	})
	h.call(t, func(ctx context.Context) error { return n.Detach(ctx, id) })
	if after := h.listing(t); after != before { // one that nobody took does not wait for Recycle
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}

	// In a namespace of its own it is as good as a tap, and the same rules hold.
	g := h.wired(t, n, id, 2, "public")
	if _, err := g.ask("tcp4", internet, port); err != nil {
		t.Errorf("its network does not work: %v", err)
	}
	for _, to := range []string{private, hostPublic, metadata} {
		if said, err := g.ask("tcp4", to, port); !errors.Is(err, errRefused) {
			t.Errorf("%s answers: %q, %v", to, said, err)
		}
	}
	other := h.attach(t, n, 3, "open")
	if said, err := g.ask("tcp4", other.port.Address.String(), port); err == nil {
		t.Errorf("another VM answers: %q", said)
	}
	if _, err := h.freeEndOf(t, n, id, 2); !errors.Is(err, model.ErrState) {
		t.Errorf("its end is found where another has it: %v", err)
	}
	// What it has stays, whatever kind is said; as does its policy's change.
	index := h.index(t, p.Tap)
	h.set(t, n, id, 2, "none")
	h.setWire(t, n, id, 2, "none")
	if now := h.index(t, p.Tap); now != index || !strings.Contains(h.shows(p.Tap), "veth") {
		t.Errorf("its port is another: %s", h.shows(p.Tap))
	}
	if _, err := g.ask("tcp4", internet, port); !errors.Is(err, errRefused) {
		t.Errorf("it reaches what it no longer may: %v", err)
	}
	// Taken away from under it, it is left to be removed, and nothing of it is known any more.
	if h.connections(t, g.port.Address) == 0 {
		t.Error("no connection of its is known, so that this shows nothing")
	}
	h.call(t, func(ctx context.Context) error { return n.Detach(ctx, id) })
	if found := h.look(t, n); len(found.Left) != 1 || len(found.Ports) != 2 {
		t.Errorf("there are %+v", found)
	}
	if got := h.connections(t, g.port.Address); got != 0 {
		t.Errorf("%d connections are known", got)
	}
	h.call(t, n.Recycle)
	if found := h.look(t, n); len(found.Left) != 0 {
		t.Errorf("left are %v", found.Left)
	}
	g.close()
}

// TestAWireGoesByItself with its VMM, before anybody asks for it, or meanwhile.
func TestAWireGoesByItself(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	h.set(t, n, model.NewVMID(), 1, "none")
	before := h.listing(t)
	for _, wait := range []bool{true, false} {
		g := h.wired(t, n, model.NewVMID(), 2, "public")
		if _, err := g.ask("tcp4", internet, port); err != nil {
			t.Errorf("its network does not work: %v", err)
		}
		g.close()
		for deadline := time.Now().Add(10 * time.Second); wait && h.shows(g.port.Tap) != ""; {
			if time.Now().After(deadline) {
				t.Fatal("it stays")
			}
		}
		if got := h.connections(t, g.port.Address); got == 0 {
			t.Error("no connection of its is known, so that this shows nothing")
		}
		for range 2 {
			h.call(t, func(ctx context.Context) error { return n.Detach(ctx, g.id) })
		}
		if got := h.connections(t, g.port.Address); got != 0 {
			t.Errorf("%d connections are known", got)
		}
		h.call(t, n.Recycle)
		if after := h.listing(t); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}
}

// TestAPortsKind is what the VM's next VMM takes, when no VMM has it.
func TestAPortsKind(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	id := model.NewVMID()
	for _, want := range []string{"veth", "tun", "veth"} {
		if want == "tun" {
			h.set(t, n, id, 1, "public")
		} else {
			h.setWire(t, n, id, 1, "public")
		}
		if said := h.shows(n.tap(1)); !strings.Contains(said, want+" ") {
			t.Errorf("it is no %s: %s", want, said)
		}
	}
	// One that a VMM has open stays.
	h.set(t, n, id, 1, "public")
	h.do(func() {
		tap, err := n.Open(t.Context(), id)
		if err != nil {
			t.Error(err)
			return
		}
		defer tap.Close()
		if _, err := n.Attach(t.Context(), id, 1, Rules{Wire: true}); err != nil {
			t.Error(err)
		}
	})
	if said := h.shows(n.tap(1)); !strings.Contains(said, "tun ") {
		t.Errorf("it is no tap: %s", said)
	}
}

// TestWhoseWire: the end of a wire is found for nobody but the VM whose port the wire is.
func TestWhoseWire(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	own, another, id := model.NewVMID(), model.NewVMID(), model.NewVMID()
	h.setWire(t, n, own, 1, "none")
	h.setWire(t, n, another, 2, "none")
	h.set(t, n, id, 3, "none")
	foreign := New(Options{Instance: n.o.Instance, UID: 54321})
	h.ip(t,
		"link add "+n.tap(4)+" type veth peer name "+n.freeEnd(4), // by its name alone
		"link add "+n.tap(5)+" type veth peer name "+n.freeEnd(5),
		"link set "+n.tap(5)+" master "+n.bridge(),
		"link add "+n.tap(6)+" type veth peer name some0",
		"link set "+n.tap(6)+" master "+n.bridge(),
	)
	h.do(func() {
		links, err := handle(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		for _, name := range []string{n.tap(4), n.tap(6)} {
			link, err := links.LinkByName(name)
			if err == nil {
				err = links.LinkSetAlias(link, n.alias(id))
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	before := h.listing(t)
	for name, c := range map[string]struct {
		host *Host
		id   model.VMID
		slot int
		want error
	}{
		"another VM's":               {n, own, 2, model.ErrDenied},
		"a tap":                      {n, id, 3, model.ErrDenied},
		"no port":                    {n, own, 9, model.ErrNotFound},
		"a slot that has no address": {n, own, MaxSlot + 1, model.ErrUnsupported},
		"no slot":                    {n, own, 0, model.ErrUnsupported},
		"no VM":                      {n, "..", 1, model.ErrInvalid},
		"another user's":             {foreign, own, 1, model.ErrNotFound},
		"another installation's":     {New(Options{Instance: model.NewInstanceID()}), own, 1, model.ErrNotFound},
		"one of no bridge":           {n, id, 4, model.ErrDenied},
		"one that is nobody's":       {n, id, 5, model.ErrDenied},
		"one to somewhere else":      {n, id, 6, model.ErrDenied},
	} {
		if end, err := h.freeEndOf(t, c.host, c.id, c.slot); !errors.Is(err, c.want) || end != nil {
			t.Errorf("%s: %v, %v", name, end, err)
		}
	}
	if _, err := h.freeEndOf(t, n, own, 1); err != nil {
		t.Error(err)
	}
	if after := h.listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
