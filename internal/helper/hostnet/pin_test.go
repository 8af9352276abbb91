package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"banger/internal/model"
)

// pin has a guest reach what names stand for.
func (h host) pin(t *testing.T, n *Host, g guest, slot int, entries string, addresses ...string) error {
	t.Helper()
	p := Pin{Entries: strings.Split(entries, ","), Life: model.MinPin}
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
	}
	var err error
	h.do(func() { err = n.PinAddresses(t.Context(), g.id, slot, p) })
	return err
}

// pinShortly does so for a moment, which nobody may ask for.
func (h host) pinShortly(t *testing.T, n *Host, g guest, entry, address string, life time.Duration) {
	t.Helper()
	e, err := model.ParsePolicy(entry)
	if err != nil {
		t.Fatal(err)
	}
	h.do(func() {
		r, err := n.newRules()
		if err == nil {
			err = r.pin(g.id, 1, e.Entries, Pin{Addresses: []netip.Addr{netip.MustParseAddr(address)}, Life: life})
			r.close()
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func TestNamesInAPolicy(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	g := h.attach(t, n, 1, "web.example:7000,*.test.example,10.9.0.2:53")
	other := h.attach(t, n, 2, "web.example:7000")
	reaches := func(g guest, to string, port int, want bool) {
		t.Helper()
		for _, network := range []string{"tcp4", "udp4"} {
			said, err := g.ask(network, to, port)
			if (err == nil) != want || want && said != hostPublic && said != hostPrivate || !want && network == "tcp4" && !errors.Is(err, errRefused) {
				t.Errorf("%s to %s:%d: %q, %v, want %t", network, to, port, said, err, want)
			}
		}
	}
	pin := func(entries string, addresses ...string) {
		t.Helper()
		if err := h.pin(t, n, g, 1, entries, addresses...); err != nil {
			t.Error(err)
		}
	}
	reaches(g, internet, port, false)
	reaches(g, private, portDNS, true)
	pin("web.example:7000", internet)
	reaches(g, internet, port, true)
	reaches(g, internet, portDNS, false)
	reaches(g, internet2, port, false)
	reaches(other, internet, port, false)
	pin("*.test.example", internet2)
	reaches(g, internet2, port, true)
	reaches(g, internet2, portDNS, true)
	// The host's own address is no address of the internet, whoever says what stands for it.
	pin("*.test.example", hostPublic)
	reaches(g, hostPublic, port, false)

	// What is no name's, and what no name of its policy is.
	for _, addr := range []string{private, provider, metadata, "127.0.0.1", "198.18.0.2", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::1", "::ffff:11.0.0.2"} {
		if err := h.pin(t, n, g, 1, "*.test.example", internet, addr); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for entries, kind := range map[string]error{
		"": model.ErrInvalid, "public": model.ErrInvalid, "10.0.0.0/8": model.ErrInvalid, "group:x": model.ErrInvalid, "Web.example:7000": model.ErrInvalid,
		"web.example:7000 ": model.ErrInvalid, "web.example": model.ErrNotFound, "web.example:7001": model.ErrNotFound, "*.example": model.ErrNotFound,
		"web.example:7000,other.example": model.ErrNotFound,
	} {
		if err := h.pin(t, n, g, 1, entries, "11.0.0.9"); !errors.Is(err, kind) {
			t.Errorf("%q: %v, want %v", entries, err, kind)
		}
	}
	if err := h.pin(t, n, g, 2, "web.example:7000", internet); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("another's slot: %v", err)
	}
	for _, slot := range []int{0, -1, MaxSlot + 1} {
		if err := h.pin(t, n, g, slot, "web.example:7000", internet); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("slot %d: %v", slot, err)
		}
	}
	for _, life := range []time.Duration{0, -1, model.MinPin - 1, model.MaxPin + model.PinGrace + 1} {
		var err error
		h.do(func() {
			err = n.PinAddresses(t.Context(), g.id, 1, Pin{Entries: []string{"web.example:7000"}, Addresses: []netip.Addr{netip.MustParseAddr(internet)}, Life: life})
		})
		if !errors.Is(err, model.ErrInvalid) {
			t.Errorf("for %s: %v", life, err)
		}
	}
	var err error
	h.do(func() {
		err = n.PinAddresses(t.Context(), g.id, 1, Pin{Entries: []string{"web.example:7000"}, Life: model.MinPin,
			Addresses: slices.Repeat([]netip.Addr{netip.MustParseAddr(internet)}, MostPinAddresses+1)})
	})
	if !errors.Is(err, model.ErrInvalid) {
		t.Errorf("too many: %v", err)
	}

	// A change keeps what the same words stood for, and forgets what others did.
	h.set(t, n, g.id, 1, "11.0.0.9,web.example:7000")
	reaches(g, internet, port, true)
	reaches(g, internet2, port, false)
	h.set(t, n, g.id, 1, "web.example:7000,*.test.example")
	reaches(g, internet, port, true)
	reaches(g, internet2, port, false)
	h.set(t, n, g.id, 1, "public,web.example:7000")
	reaches(g, internet, port, true)
	if err := h.pin(t, n, g, 1, "web.example:7000", internet); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("where the name says nothing: %v", err)
	}
	h.set(t, n, g.id, 1, "web.example:7000")
	reaches(g, internet, port, false)
}

// TestAPinEnds has connections that go on when a name stands for another address, as long as the name is in the policy.
func TestAPinEnds(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	g := h.attach(t, n, 1, "web.example:7000,web.example:53")
	dial := func(network string, port int) net.Conn {
		t.Helper()
		var c net.Conn
		var err error
		g.do(func() { c, err = net.DialTimeout(network, fmt.Sprintf("%s:%d", internet, port), patience) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if network == "tcp4" { // the server begins
			_ = c.SetDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	echo := func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 100))
		return err
	}
	const life = 1500 * time.Millisecond
	h.pinShortly(t, n, g, "web.example:7000", internet, time.Hour)
	h.pinShortly(t, n, g, "web.example:7000", internet, life) // shorter than before, as asked for
	h.pinShortly(t, n, g, "web.example:53", internet, life)
	h.pinShortly(t, n, g, "web.example:53", internet, time.Hour) // longer
	began := time.Now()
	tcp, udp, second := dial("tcp4", port), dial("udp4", port), dial("tcp4", portDNS)
	for _, c := range []net.Conn{tcp, udp, second} {
		if err := echo(c); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Until(began.Add(life + 500*time.Millisecond)))
	if said, err := g.ask("tcp4", internet, port); !errors.Is(err, errRefused) {
		t.Errorf("after its end: %q, %v", said, err)
	}
	if _, err := g.ask("tcp4", internet, portDNS); err != nil {
		t.Errorf("before its end, which was put off: %v", err)
	}
	for _, c := range []net.Conn{tcp, udp, second} {
		if err := echo(c); err != nil {
			t.Errorf("what is open, over %s: %v", c.RemoteAddr().Network(), err)
		}
	}
	h.set(t, n, g.id, 1, "10.9.0.2,web.example:7000")
	if err := echo(tcp); err != nil {
		t.Errorf("after a change that keeps the name: %v", err)
	}
	if err := echo(second); err == nil {
		t.Error("what the policy does not allow goes on")
	}
	h.set(t, n, g.id, 1, "10.9.0.2")
	if err := echo(tcp); err == nil {
		t.Error("what the policy does not allow goes on")
	}
	h.set(t, n, g.id, 1, "web.example:7000")
	if said, err := g.ask("tcp4", internet, port); err == nil {
		t.Errorf("a name that was gone stands for what it did: %q", said)
	}
	h.do(func() {
		if err := n.Detach(t.Context(), g.id); err != nil {
			t.Error(err)
		}
		p := Pin{Entries: []string{"web.example:7000"}, Addresses: []netip.Addr{netip.MustParseAddr(internet)}, Life: model.MinPin}
		if err := n.PinAddresses(t.Context(), g.id, 1, p); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("of a VM that has no rules: %v", err)
		}
	})
}

// TestPinsHaveAnEnd fills what is remembered.
func TestPinsHaveAnEnd(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	g := h.attach(t, n, 1, "web.example,a.example,b.example,c.example")
	most := int(share(model.MaxPins, 4))
	var err error
	pinned := 0
	h.do(func() {
		for i := 0; err == nil && i < 2*most; i += MostPinAddresses {
			p := Pin{Entries: []string{"web.example"}, Life: model.MaxPin}
			for j := range MostPinAddresses {
				p.Addresses = append(p.Addresses, netip.AddrFrom4([4]byte{11, 1, byte((i + j) >> 8), byte(i + j)}))
			}
			if err = n.PinAddresses(t.Context(), g.id, 1, p); err == nil {
				pinned += MostPinAddresses
			}
		}
	})
	if !errors.Is(err, model.ErrUnavailable) || pinned < most/2 || pinned > most {
		t.Errorf("%d were taken, of at most %d, and then: %v", pinned, most, err)
	}
	if err := h.pin(t, n, g, 1, "a.example", internet); err != nil {
		t.Errorf("another name: %v", err)
	}
	if _, err := g.ask("tcp4", internet, port); err != nil {
		t.Error(err)
	}
}
