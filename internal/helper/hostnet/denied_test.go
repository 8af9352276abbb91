package hostnet

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// TestWhatIsRefusedIsRemembered has a guest that wants what it may not have, of each kind; another that wants more than is
// remembered; and one that wants nothing.
func TestWhatIsRefusedIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	a, b := h.attach(t, n, 1, "public"), h.attach(t, n, 2, internet+":7000")
	denials := func(id model.VMID) []Denial {
		t.Helper()
		var all []Denial
		var err error
		h.do(func() { all, err = n.Denials(t.Context(), id) })
		if err != nil {
			t.Error(err)
		}
		return all
	}
	began := time.Now()
	for range 3 {
		if said, err := a.ask("tcp4", private, port); err == nil {
			t.Errorf("it reached %s: %s", private, said)
		}
	}
	for _, to := range []string{metadata, b.port.Address.String(), "240.0.0.1", hostPublic} {
		if said, err := a.ask("udp4", to, port); err == nil {
			t.Errorf("it reached %s: %s", to, said)
		}
	}
	if _, err := a.ask("tcp4", internet, port); err != nil {
		t.Error(err)
	}
	got := map[Denial]uint64{}
	for _, d := range denials(a.id) {
		if d.Last.Before(began.Add(-time.Second)) || d.Last.After(time.Now().Add(time.Second)) {
			t.Errorf("%+v was not now", d)
		}
		got[Denial{Protocol: d.Protocol, To: d.To}] = d.Packets
	}
	for to, least := range map[string]uint64{private: 3, metadata: 1, b.port.Address.String(): 1, "240.0.0.1": 1, hostPublic: 1} {
		d := Denial{Protocol: unix.IPPROTO_UDP, To: netip.AddrPortFrom(netip.MustParseAddr(to), port)}
		if to == private {
			d.Protocol = unix.IPPROTO_TCP
		}
		if got[d] < least {
			t.Errorf("%s was refused %d times, of at least %d: %v", to, got[d], least, got)
		}
		delete(got, d)
	}
	if len(got) > 0 {
		t.Errorf("refused were also %v", got)
	}
	if others := denials(b.id); len(others) > 0 {
		t.Errorf("of another: %v", others)
	}
	// What it was refused stays with a change, and a flood is remembered in part.
	h.set(t, n, a.id, 1, "open")
	if len(denials(a.id)) != 5 {
		t.Errorf("after a change: %v", denials(a.id))
	}
	b.do(func() {
		u, err := net.ListenUDP("udp4", nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer u.Close()
		for i := range mostDenied + 20 {
			if _, err := u.WriteToUDPAddrPort([]byte("?"), netip.AddrPortFrom(netip.MustParseAddr(private), uint16(1000+i))); err != nil {
				t.Error(err)
			}
		}
	})
	for end := time.Now().Add(patience); len(denials(b.id)) < mostDenied && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if all := denials(b.id); len(all) < mostDenied*9/10 || len(all) > mostDenied {
		t.Errorf("of %d, %d are remembered", mostDenied+20, len(all))
	}
	h.do(func() {
		if err := n.Detach(t.Context(), b.id); err != nil {
			t.Error(err)
		}
	})
	if all := denials(b.id); len(all) > 0 {
		t.Errorf("of one that is gone: %d", len(all))
	}
	if len(denials(a.id)) != 5 {
		t.Errorf("of one that is there: %v", denials(a.id))
	}
}
