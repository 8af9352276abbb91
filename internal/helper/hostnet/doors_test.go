package hostnet

import (
	"errors"
	"net/netip"
	"testing"

	"banger/internal/model"
)

// TestDoors has ports of the gateway lead elsewhere, of the VMs that were given them, and of no others.
func TestDoors(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n, other := h.installation(t), h.installation(t)
	const at, at2 = 5353, 5354
	both := func(port, to uint16) []model.Redirect {
		return []model.Redirect{{Port: port, To: to}, {UDP: true, Port: port, To: to}}
	}
	a := h.attach(t, n, 1, "none", both(portDNS, at)...)
	b := h.attach(t, n, 2, "open")
	stranger := h.attach(t, other, 1, "open")
	gateway := a.port.Gateway.String()
	h.serve(t, gateway, at)
	h.serve(t, gateway, at2)
	reaches := func(g guest, network string, port int, want bool) {
		t.Helper()
		said, err := g.ask(network, gateway, port)
		if (err == nil) != want || want && said != g.port.Address.String() || !want && network == "tcp4" && !errors.Is(err, errRefused) {
			t.Errorf("%s of %s to port %d: %q, %v, want %t", network, g.port.Address, port, said, err, want)
		}
	}
	for _, network := range []string{"tcp4", "udp4"} {
		reaches(a, network, portDNS, true)
		reaches(a, network, at, false)
		reaches(a, network, at2, false)
		reaches(b, network, portDNS, false)
		reaches(b, network, at, false)
		if said, err := stranger.ask(network, gateway, at); err == nil {
			t.Errorf("another installation's guest, over %s: %q", network, said)
		}
		if said, err := h.far.ask(network, gateway, at); err == nil {
			t.Errorf("from outside, over %s: %q", network, said)
		}
	}
	// One of the other protocol, another number, one more, and none.
	h.set(t, n, a.id, 1, "public", model.Redirect{UDP: true, Port: portDNS, To: at2})
	reaches(a, "udp4", portDNS, true)
	reaches(a, "tcp4", portDNS, false)
	h.set(t, n, a.id, 1, "public", append(both(portDNS, at), both(5432, at2)...)...)
	reaches(a, "tcp4", portDNS, true)
	reaches(a, "tcp4", 5432, true)
	reaches(a, "udp4", 5432, true)
	h.set(t, n, b.id, 2, "public", both(5432, at)...)
	reaches(b, "tcp4", 5432, true)
	h.set(t, n, a.id, 1, "public")
	reaches(a, "tcp4", portDNS, false)
	reaches(a, "udp4", 5432, false)
	reaches(b, "tcp4", 5432, true)
	// What comes from the host itself is not led anywhere.
	if said, err := h.ask("tcp4", gateway, 5432); !errors.Is(err, errRefused) {
		t.Errorf("from the host: %q, %v", said, err)
	}
	var err error
	for _, bad := range [][]model.Redirect{
		{{Port: 0, To: at}}, {{Port: 53, To: 0}}, {{Port: 53, To: 22}}, {{Port: 53, To: at}, {Port: 53, To: at2}}, make([]model.Redirect, mostRedirects+1),
	} {
		h.do(func() { _, err = n.Attach(t.Context(), a.id, 1, Rules{Redirects: bad}) })
		if !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%.3v: %v", bad, err)
		}
	}
	if got := AddressBeside(a.port.Gateway, 1); got != a.port.Address {
		t.Errorf("beside %s there is %s, and not %s", gateway, got, a.port.Address)
	}
	var found Found
	h.do(func() { found, err = n.List(t.Context()) })
	if err != nil || found.Gateway != netip.MustParseAddr(gateway) {
		t.Errorf("the gateway is %s, %v", found.Gateway, err)
	}
}
