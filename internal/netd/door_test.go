package netd

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"banger/internal/egress"
	"banger/internal/model"
	"banger/internal/netd/port"
	"banger/internal/testenv"
)

// Guests whose packets the kernel carries have addresses of the loopback here, and so does their gateway: what the kernel's
// rules lead to a door, the tests connect to it themselves.
const doorGateway = "127.0.0.1"

// behindDoors is what there is to be of such a guest.
func behindDoors(t *testing.T, name, address, policy string, hostPorts ...uint16) Publication {
	t.Helper()
	p, err := model.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	c := port.Config{
		ID: "id-" + name, Name: name, Policy: p, HostPorts: map[uint16]bool{},
		Identity: port.Identity{Address: netip.MustParseAddr(address), Gateway: netip.MustParseAddr(doorGateway)},
	}
	for _, number := range hostPorts {
		c.HostPorts[number] = true
	}
	return Publication{Config: c}
}

func (w *world) behind(p Publication) Published {
	w.t.Helper()
	there, err := w.Publish(p)
	if err != nil {
		w.t.Fatal(err)
	}
	return there
}

// through connects a guest to a door.
func through(t *testing.T, network, from string, at uint16) net.Conn {
	t.Helper()
	conn, err := tryThrough(t, network, from, at)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// refusedThrough says whether a guest is hung up on, which may be so fast that the connecting fails.
func refusedThrough(t *testing.T, from string, at uint16) bool {
	t.Helper()
	conn, err := tryThrough(t, "tcp4", from, at)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return errors.Is(err, unix.ECONNRESET)
}

func tryThrough(t *testing.T, network, from string, at uint16) (net.Conn, error) {
	d := net.Dialer{Timeout: 20 * time.Second}
	if d.LocalAddr = net.Addr(&net.TCPAddr{IP: net.ParseIP(from)}); network == "udp4" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	conn, err := d.Dial(network, netip.AddrPortFrom(netip.MustParseAddr(doorGateway), at).String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.SetDeadline(time.Now().Add(20 * time.Second))
}

// askDoor asks for a name, and returns the code and the addresses of the answer; "" for none within a moment.
func askDoor(t *testing.T, network, from string, at uint16, name string) string {
	t.Helper()
	made, err := tryThrough(t, network, from, at)
	if err != nil {
		return "" // hung up on at once
	}
	conn := &dns.Conn{Conn: made, UDPSize: 4096}
	_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
	query := new(dns.Msg).SetQuestion(name, dns.TypeA)
	query.SetEdns0(4096, false)
	if err := conn.WriteMsg(query); err != nil {
		return ""
	}
	reply, err := conn.ReadMsg()
	if err != nil {
		return ""
	}
	return addresses(reply)
}

func TestDoorsAnswerByTheSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resolver(t, w, "")
	box := w.behind(behindDoors(t, "box", "127.0.0.2", "public,group:x"))
	list := w.behind(behindDoors(t, "list", "127.0.0.3", "*.example.org,group:x"))
	none := w.behind(behindDoors(t, "none", "127.0.0.4", "none"))
	at := box.Doors[port.DNS]
	if at == 0 || list.Doors[port.DNS] != at || len(none.Doors) != 0 {
		t.Fatalf("the doors are at %v, %v and %v", box.Doors, list.Doors, none.Doors)
	}
	for _, network := range []string{"udp4", "tcp4"} {
		for _, c := range []struct{ from, name, want string }{
			{"127.0.0.2", "example.org.", "NOERROR 93.184.216.34"},
			{"127.0.0.2", "rebound.example.org.", "NOERROR 93.184.216.34"},
			{"127.0.0.2", "private.example.org.", "NOERROR"},
			{"127.0.0.2", "list.", "NOERROR 127.0.0.3"},
			{"127.0.0.2", "box.banger.internal.", "NOERROR 127.0.0.2"},
			{"127.0.0.2", "host.banger.internal.", "NOERROR 127.0.0.1"},
			{"127.0.0.2", "none.banger.internal.", "NXDOMAIN"},
			{"127.0.0.3", "example.org.", "NXDOMAIN"},
			{"127.0.0.3", "www.example.org.", "NOERROR 93.184.216.35"},
			{"127.0.0.3", "box.", "NOERROR 127.0.0.2"},
			{"127.0.0.4", "example.org.", ""},
			{"127.0.0.9", "example.org.", ""},
			{"127.0.0.1", "host.banger.internal.", ""},
		} {
			if got := askDoor(t, network, c.from, at, c.name); got != c.want {
				t.Errorf("%s of %s for %s: %q, want %q", network, c.from, c.name, got, c.want)
			}
		}
	}
	if rule, count := w.denied("list", "dns", "example.org"); count == 0 || !strings.Contains(rule, "no entry") {
		t.Errorf("what was refused is %q, %d times", rule, count)
	}
	if rule, _ := w.denied("box", "dns", "private.example.org"); !strings.Contains(rule, "192.168.0.0/16") {
		t.Errorf("what was filtered is %q", rule)
	}
	// The list's name is known now; its address alone was not.
	for destination, allowed := range map[string]bool{
		"www.example.org:443": true, "93.184.216.35:443": true, "93.184.216.34:443": false, "127.0.0.2:1": true, "box:1": true, "127.0.0.1:53": true, "127.0.0.1:54": false,
	} {
		if v, _, err := w.Check(t.Context(), "id-list", destination); err != nil || v.Allowed != allowed {
			t.Errorf("%s: %+v, %v", destination, v, err)
		}
	}
	// Out of the group; and gone, after which the address is nobody's.
	w.behind(behindDoors(t, "list", "127.0.0.3", "*.example.org"))
	if got := askDoor(t, "udp4", "127.0.0.2", at, "list.banger.internal."); got != "NXDOMAIN" {
		t.Errorf("one that has left the group: %s", got)
	}
	w.Clear("id-list")
	if got := askDoor(t, "udp4", "127.0.0.3", at, "www.example.org."); got != "" {
		t.Errorf("of one that is gone: %s", got)
	}
	w.behind(behindDoors(t, "box", "127.0.0.2", "none"))
	if got := askDoor(t, "udp4", "127.0.0.2", at, "example.org."); got != "" {
		t.Errorf("with the policy none: %s", got)
	}
}

// TestDoorsAreWhereTheyWere has another netd, which is told where they were, with and without somebody else there.
func TestDoorsAreWhereTheyWere(t *testing.T) {
	t.Parallel()
	first := newWorld(t)
	p := behindDoors(t, "box", "127.0.0.2", "public", 5432)
	p.Doors = first.behind(p).Doors
	if again := first.behind(p).Doors; again[port.DNS] != p.Doors[port.DNS] || again[5432] != p.Doors[5432] || len(again) != 2 {
		t.Errorf("%v became %v", p.Doors, again)
	}
	second := newWorld(t)
	moved := second.behind(p).Doors
	if moved[port.DNS] == 0 || moved[port.DNS] == p.Doors[port.DNS] || moved[5432] == p.Doors[5432] {
		t.Errorf("beside the first they are at %v, and those at %v", moved, p.Doors)
	}
	first.Keep(nil)
	third := newWorld(t)
	if there := third.behind(p).Doors; there[port.DNS] != p.Doors[port.DNS] || there[5432] != p.Doors[5432] {
		t.Errorf("after the first they are at %v, and were at %v", there, p.Doors)
	}
}

func TestHostPortsByDoors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, u := testenv.ListenBoth(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	number := uint16(l.Addr().(*net.TCPAddr).Port)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
	}()
	box := w.behind(behindDoors(t, "box", "127.0.0.2", "open", number))
	w.behind(behindDoors(t, "other", "127.0.0.3", "open"))
	at := box.Doors[number]
	conn := through(t, "tcp4", "127.0.0.2", at)
	if err := says(t, conn, "hello"); err != nil {
		t.Fatal(err)
	}
	datagrams := through(t, "udp4", "127.0.0.2", at)
	if got, err := ask(t, datagrams, "one"); err != nil || got != "re: one" {
		t.Errorf("%q, %v", got, err)
	}
	// Another VM was not given it, and nobody else is anybody.
	for _, from := range []string{"127.0.0.3", "127.0.0.9", "127.0.0.1"} {
		if !refusedThrough(t, from, at) {
			t.Errorf("%s got through", from)
		}
		stranger := through(t, "udp4", from, at)
		_ = stranger.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = stranger.Write([]byte("x"))
		if n, err := stranger.Read(make([]byte, 10)); err == nil {
			t.Errorf("%s was answered %d bytes", from, n)
		}
	}
	if rule, _ := w.denied("other", "tcp", netip.AddrPortFrom(netip.MustParseAddr(doorGateway), number).String()); !strings.Contains(rule, "not opened") {
		t.Errorf("the rule is %q", rule)
	}
	// A change that leaves it open leaves what is open; one that closes it does not, though another VM has it.
	w.behind(behindDoors(t, "box", "127.0.0.2", "public", number, 9))
	w.behind(behindDoors(t, "other", "127.0.0.3", "open", number))
	if err := says(t, conn, "still"); err != nil {
		t.Error(err)
	}
	w.behind(behindDoors(t, "box", "127.0.0.2", "public"))
	if err := says(t, conn, "closed"); err == nil {
		t.Error("the connection goes on through a port that was closed")
	}
	if !refusedThrough(t, "127.0.0.2", at) {
		t.Error("the port is open")
	}
	if err := says(t, through(t, "tcp4", "127.0.0.3", at), "mine"); err != nil {
		t.Error(err)
	}
	w.Clear("id-other")
	if conn, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr(doorGateway), at).String()); err == nil {
		conn.Close()
		t.Error("a door that nobody may use is open")
	}
}

// TestWhatTheKernelRefusedIsExplained among what was refused here.
func TestWhatTheKernelRefusedIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resolver(t, w, "")
	there := w.behind(behindDoors(t, "box", "127.0.0.2", "*.example.org:443"))
	_ = askDoor(t, "udp4", "127.0.0.2", there.Doors[port.DNS], "www.example.org.")
	_ = askDoor(t, "udp4", "127.0.0.2", there.Doors[port.DNS], "other.net.")
	old := time.Now().Add(-time.Minute)
	list, err := w.Denied("id-box", []egress.Denial{
		{Protocol: "tcp", Destination: "93.184.216.35:80", Count: 3, Last: old},
		{Protocol: "icmp", Destination: "10.0.0.1", Count: 1, Last: old},
		{Protocol: "tcp", Destination: "93.184.216.35:443", Count: 1, Last: old},
		{Protocol: "udp", Destination: "127.0.0.1:22", Count: 1, Last: old},
	})
	if err != nil || len(list) != 5 || list[0].Destination != "other.net" {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, rule := range []string{
		"no entry of the policy names it", "no entry of the policy allows port 80 of www.example.org", "no entry of the policy allows it",
		"the policy that was; now it is allowed: *.example.org:443", "port 22 of the host is not opened to the VM",
	} {
		if list[i].Rule != rule {
			t.Errorf("%s: %q, want %q", list[i].Destination, list[i].Rule, rule)
		}
	}
}

// TestADoorTakesNoMoreThanAPort has a guest that opens connections to the DNS port and says nothing.
func TestADoorTakesNoMoreThanAPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(env *port.Env) { env.Limits.TCP = 8 })
	there := w.behind(behindDoors(t, "box", "127.0.0.2", "public"))
	var open []net.Conn
	refused := 0
	for range 5 { // which are taken in any order
		conn, err := tryThrough(t, "tcp4", "127.0.0.2", there.Doors[port.DNS])
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, err = conn.Read(make([]byte, 1))
		}
		if errors.Is(err, unix.ECONNRESET) {
			refused++
			continue
		}
		open = append(open, conn)
	}
	if refused != 1 {
		t.Errorf("of five, %d were refused, where a VM may have four", refused)
	}
	if _, count := w.denied("box", "tcp", doorGateway+":53"); count != 1 {
		t.Errorf("it is told %d times", count)
	}
	w.Clear("id-box")
	for _, conn := range open {
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a connection outlives its VM")
		}
	}
}
