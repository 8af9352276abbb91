package hostnet

import (
	"errors"
	"net/netip"
	"testing"

	"banger/internal/model"
)

// TestNamesAreForTheHostAlone has something answer at the gateway's DNS port: the host reaches it, and no guest, of this
// installation or of another, nor anybody outside.
func TestNamesAreForTheHostAlone(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n, other := h.installation(t), h.installation(t)
	var early error
	h.do(func() { _, early = n.ListenNames(t.Context()) })
	if !errors.Is(early, model.ErrNotFound) {
		t.Errorf("without a bridge: %v", early)
	}
	none, open := h.attach(t, n, 1, "none"), h.attach(t, n, 2, "open")
	asking := h.attach(t, n, 3, "public,group:a", someDoors...)
	stranger := h.attach(t, other, 1, "open")
	gateway := none.port.Gateway

	// It is where the verb opens it, and the echo that tells who asked takes its place.
	var sockets Sockets
	var err error
	h.do(func() { sockets, err = n.ListenNames(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	want := netip.AddrPortFrom(gateway, portDNS)
	if udp, tcp := sockets.UDP.LocalAddr().String(), sockets.TCP.Addr().String(); udp != want.String() || tcp != want.String() {
		t.Errorf("they are at %s and %s, want %s", udp, tcp, want)
	}
	sockets.UDP.Close()
	sockets.TCP.Close()
	h.serve(t, gateway.String(), portDNS)

	for _, network := range []string{"udp4", "tcp4"} {
		if said, err := h.ask(network, gateway.String(), portDNS); err != nil || said != gateway.String() {
			t.Errorf("%s, from the host: %q, %v", network, said, err)
		}
		for name, g := range map[string]guest{"none": none, "open": open, "another installation's": stranger} {
			if said, err := g.ask(network, gateway.String(), portDNS); err == nil || network == "tcp4" && !errors.Is(err, errRefused) {
				t.Errorf("%s, from a guest (%s): %q, %v", network, name, said, err)
			}
		}
		// One that may ask for names asks elsewhere, where nobody listens here, and not the host's own server.
		if said, err := asking.ask(network, gateway.String(), portDNS); !errors.Is(err, errRefused) {
			t.Errorf("%s, from a guest that may ask: %q, %v", network, said, err)
		}
	}
	h.far.ip(t, "route add 198.18.0.0/15 via "+hostPublic)
	for _, network := range []string{"udp4", "tcp4"} {
		if said, err := h.far.ask(network, gateway.String(), portDNS); err == nil {
			t.Errorf("%s, from outside: %q", network, said)
		}
	}
}
