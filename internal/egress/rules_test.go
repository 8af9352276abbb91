package egress

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"banger/internal/model"
)

func rules(t *testing.T, text string) *Rules {
	t.Helper()
	policy, err := model.ParsePolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	hosts := netip.MustParseAddr("93.184.216.1")
	return New(policy, func(addr netip.Addr) bool { return addr == hosts })
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const web = "93.184.216.34:443"
	for _, c := range []struct {
		policy, to, names string
		want              bool
		rule              string
	}{
		{"none", web, "", false, "the policy is none"},
		{"public", web, "", true, "public"},
		{"public", "10.1.2.3:443", "", false, "RFC 1918"},
		{"public", "172.16.0.1:443", "", false, "RFC 1918"},
		{"public", "172.31.255.255:443", "", false, "RFC 1918"},
		{"public", "172.32.0.1:443", "", true, "public"},
		{"public", "192.168.1.1:443", "", false, "RFC 1918"},
		{"public", "100.64.0.1:443", "", false, "RFC 6598"},
		{"public", "100.128.0.1:443", "", true, "public"},
		{"public", "169.254.169.254:80", "", false, "metadata"},
		{"public", "168.63.129.16:80", "", false, "metadata"},
		{"public", "127.0.0.1:80", "", false, "loopback"},
		{"public", "0.0.0.0:80", "", false, "0.0.0.0/8"},
		{"public", "224.0.0.251:5353", "", false, "multicast"},
		{"public", "240.0.0.1:80", "", false, "reserved"},
		{"public", "255.255.255.255:67", "", false, "broadcast"},
		{"public", "198.18.0.7:80", "", false, "VMs"},
		{"public", "198.51.100.1:80", "", true, "public"},
		{"public", "93.184.216.1:22", "", false, "an address of the host"},
		{"public", "[2606:2800::1]:80", "", false, "IPv6"},
		{"public", "[::ffff:10.0.0.1]:80", "", false, "RFC 1918"},
		{"open", "10.1.2.3:22", "", true, "open"},
		{"open", "93.184.216.1:22", "", true, "open"},
		{"open", "127.0.0.1:22", "", false, "loopback"},
		{"open", "198.18.0.7:22", "", false, "VMs"},
		{"0.0.0.0/0", "127.0.0.1:22", "", false, "loopback"},
		{"0.0.0.0/0", "10.0.0.1:22", "", true, "0.0.0.0/0"},
		{"10.0.0.0/8:22", "10.0.0.1:22", "", true, "10.0.0.0/8:22"},
		{"10.0.0.0/8:22", "10.0.0.1:23", "", false, "no entry"},
		{"10.0.0.0/8:22,public", web, "", true, "public"},
		{"93.184.216.1:22", "93.184.216.1:22", "", true, "93.184.216.1:22"},
		{"example.org:443", web, "", false, "no entry"},
		{"example.org:443", web, "example.org", true, "example.org:443"},
		{"example.org:443", "93.184.216.34:80", "example.org", false, "port 80 of example.org"},
		{"example.org:443", web, "other.org", false, "no entry"},
		{"*.example.org", web, "other.org a.example.org", true, "*.example.org"},
		{"example.org", "10.0.0.1:443", "example.org", false, "RFC 1918"},
		{"example.org", "169.254.169.254:80", "example.org", false, "metadata"},
		{"example.org", "93.184.216.1:80", "example.org", false, "an address of the host"},
		{"example.org,10.0.0.0/8:443", "10.0.0.1:443", "example.org", true, "10.0.0.0/8:443"},
		{"group:team", web, "", false, "no entry"},
	} {
		got := rules(t, c.policy).Decide(netip.MustParseAddrPort(c.to), strings.Fields(c.names))
		if got.Allowed != c.want || !strings.Contains(got.Rule, c.rule) {
			t.Errorf("%s to %s (%s): %+v; want %v by %q", c.policy, c.to, c.names, got, c.want, c.rule)
		}
	}
}

func TestResolveAndTell(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy, name, addr string
		resolve, tell      bool
	}{
		{"none", "example.org", "93.184.216.34", false, true},
		{"public", "example.org", "93.184.216.34", true, true},
		{"public", "rebound.example", "10.0.0.1", true, false},
		{"public", "rebound.example", "127.0.0.1", true, false},
		{"public", "rebound.example", "93.184.216.1", true, false},
		{"public,10.0.0.0/8:22", "intranet.example", "10.0.0.1", true, true},
		{"open", "intranet.example", "10.0.0.1", true, true},
		{"open", "rebound.example", "127.0.0.1", true, false},
		{"*.example.org:443", "a.example.org", "93.184.216.34", true, true},
		{"*.example.org:443", "example.org", "93.184.216.34", false, true},
		{"*.example.org:443", "a.example.org", "192.168.0.1", true, false},
		{"10.0.0.0/8", "example.org", "10.0.0.1", false, true},
	} {
		r := rules(t, c.policy)
		if got := r.Resolve(c.name); got.Allowed != c.resolve || got.Rule == "" {
			t.Errorf("%s resolves %s: %+v", c.policy, c.name, got)
		}
		if got := r.Tell(netip.MustParseAddr(c.addr)); got.Allowed != c.tell || got.Rule == "" {
			t.Errorf("%s tells %s: %+v", c.policy, c.addr, got)
		}
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	var p Pins
	now := time.Now()
	one := netip.MustParseAddr("93.184.216.34")
	if got := p.Names(one, now); got != nil {
		t.Errorf("an empty table knows %v", got)
	}
	p.Add("a.org", []netip.Addr{one}, 0, now)
	p.Add("b.org", []netip.Addr{one}, 24*time.Hour, now)
	for after, want := range map[time.Duration][]string{
		0: {"a.org", "b.org"}, model.MinPin - 1: {"a.org", "b.org"}, model.MinPin: {"b.org"}, model.MaxPin - 1: {"b.org"}, model.MaxPin: nil,
	} {
		if got := p.Names(one, now.Add(after)); !slices.Equal(got, want) {
			t.Errorf("after %s: %v, want %v", after, got, want)
		}
	}
	p.Add("a.org", []netip.Addr{one}, time.Minute, now.Add(model.MinPin)) // asked again
	if got := p.Names(one, now.Add(model.MinPin)); len(got) != 2 {
		t.Errorf("a name that was resolved again is %v", got)
	}
	for i := range model.MaxPins + 100 {
		p.Add(fmt.Sprintf("n%d.org", i), []netip.Addr{netip.AddrFrom4([4]byte{93, 1, byte(i >> 8), byte(i)})}, time.Minute, now.Add(time.Second))
	}
	if len(p.expire) > model.MaxPins || len(p.names) > model.MaxPins {
		t.Errorf("%d pins of %d addresses", len(p.expire), len(p.names))
	}
	if got := p.Names(one, now.Add(2*time.Second)); !slices.Equal(got, []string{"a.org", "b.org"}) {
		t.Errorf("what lives longest was forgotten: %v", got)
	}
}

func TestDenials(t *testing.T) {
	t.Parallel()
	var d Denials
	start := time.Now()
	for i := range 3 {
		d.Add("tcp", "10.0.0.1:22", "no", start.Add(time.Duration(i)))
	}
	d.Add("udp", "10.0.0.1:22", "no", start)
	if got := d.List(); len(got) != 2 || got[0].Count != 3 || got[0].Protocol != "tcp" || got[1].Count != 1 {
		t.Errorf("%+v", got)
	}
	for i := range 3 * MaxDenials {
		d.Add("tcp", fmt.Sprintf("10.0.0.1:%d", i), "scan", start.Add(time.Duration(10+i)))
	}
	got := d.List()
	if len(got) != MaxDenials || got[0].Destination != fmt.Sprintf("10.0.0.1:%d", 3*MaxDenials-1) {
		t.Errorf("%d kept, the newest is %+v", len(got), got[0])
	}
}

func TestIsOwnAddress(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if addr := netip.MustParsePrefix(a.String()).Addr(); addr.Is4() && !IsOwnAddress(addr) {
			t.Errorf("%s is on an interface and was not taken for the host's", addr)
		}
	}
	for text, want := range map[string]bool{
		"127.0.0.1": true, "127.255.0.1": true, "255.255.255.255": true, "224.0.0.1": true, "93.184.216.34": false,
	} {
		if got := IsOwnAddress(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is the host's own: %v", text, got)
		}
	}
}
