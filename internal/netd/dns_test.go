package netd

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"banger/internal/netd/netdtest"
)

// zone is what the host's resolver of a test knows: records in the form of a zone file, by name.
const zone = `
example.org.        300 IN A 93.184.216.34
example.org.        300 IN AAAA 2606:2800::1
example.org.        300 IN MX 10 mail.example.org.
www.example.org.     10 IN CNAME edge.cdn.net.
edge.cdn.net.        10 IN CNAME pop.cdn.net.
pop.cdn.net.         10 IN A 93.184.216.35
other.net.          300 IN A 93.184.216.36
rebound.example.org. 60 IN A 10.0.0.1
rebound.example.org. 60 IN A 93.184.216.34
private.example.org. 60 IN A 192.168.0.1
loop.example.org.    60 IN CNAME loop.example.org.
intranet.corp.lan.   60 IN A 10.0.0.7
34.216.184.93.in-addr.arpa. 60 IN PTR example.org.
1.0.0.10.in-addr.arpa.      60 IN PTR secret.corp.lan.
`

// resolver serves records on loopback, over UDP and TCP, and counts questions.
func resolver(t *testing.T, w *world, extra string) *atomic.Int64 {
	t.Helper()
	records := map[string][]dns.RR{}
	for z := dns.NewZoneParser(strings.NewReader(zone+extra), "", ""); ; {
		rr, ok := z.Next()
		if !ok {
			if z.Err() != nil {
				t.Fatal(z.Err())
			}
			break
		}
		records[rr.Header().Name] = append(records[rr.Header().Name], rr)
	}
	asked := new(atomic.Int64)
	handler := dns.HandlerFunc(func(out dns.ResponseWriter, query *dns.Msg) {
		asked.Add(1)
		reply := new(dns.Msg).SetReply(query)
		name := strings.ToLower(query.Question[0].Name)
		if records[name] == nil {
			reply.Rcode = dns.RcodeNameError
		}
		for range 5 {
			next := ""
			for _, rr := range records[name] {
				if alias, ok := rr.(*dns.CNAME); ok {
					next = alias.Target
					reply.Answer = append(reply.Answer, rr)
				} else if rr.Header().Rrtype == query.Question[0].Qtype {
					reply.Answer = append(reply.Answer, rr)
				}
			}
			if name = next; next == "" {
				break
			}
		}
		// A record that nobody asked for, as a hostile server may add.
		stray, _ := dns.NewRR("stray.net. 60 IN A 93.184.216.99")
		reply.Answer = append(reply.Answer, stray)
		if _, tcp := out.RemoteAddr().(*net.TCPAddr); !tcp {
			reply.Truncate(1232)
		}
		out.WriteMsg(reply)
	})
	for _, s := range []*dns.Server{{PacketConn: w.dnsUDP, Handler: handler}, {Listener: w.dnsTCP, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	w.resolvConf(t, "nameserver 127.0.0.1\n")
	return asked
}

func (w *world) resolvConf(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(w.resolv, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lookup asks netd from the guest.
func lookup(t *testing.T, g *netdtest.Guest, name string, qtype uint16, tcp bool) *dns.Msg {
	t.Helper()
	var conn net.Conn
	var err error
	if tcp {
		conn, err = g.Dial(short(t), netdtest.Gateway+":53")
	} else {
		conn, err = g.DialUDP(netdtest.Gateway + ":53")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	client := &dns.Conn{Conn: conn, UDPSize: 4096}
	query := new(dns.Msg).SetQuestion(name, qtype)
	query.SetEdns0(4096, false)
	if err := client.WriteMsg(query); err != nil {
		t.Fatal(err)
	}
	reply, err := client.ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// addresses are the A records of an answer, with its code.
func addresses(m *dns.Msg) string {
	var list []string
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			list = append(list, a.A.String())
		}
	}
	slices.Sort(list)
	return strings.TrimSpace(dns.RcodeToString[m.Rcode] + " " + strings.Join(list, " "))
}

func TestDNS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resolver(t, w, "")
	g := w.guest(2, "box", "public")
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
		count int
	}{
		{"example.org.", dns.TypeA, "NOERROR 93.184.216.34", 1},
		{"EXAMPLE.org.", dns.TypeA, "NOERROR 93.184.216.34", 1},
		{"example.org.", dns.TypeAAAA, "NOERROR", 0},
		{"example.org.", dns.TypeMX, "NOERROR", 1},
		{"www.example.org.", dns.TypeA, "NOERROR 93.184.216.35", 3},
		{"missing.example.org.", dns.TypeA, "NXDOMAIN", 0},
		{"rebound.example.org.", dns.TypeA, "NOERROR 93.184.216.34", 1},
		{"private.example.org.", dns.TypeA, "NOERROR", 0},
		{"intranet.corp.lan.", dns.TypeA, "NOERROR", 0},
		{"host.banger.internal.", dns.TypeA, "NOERROR 198.18.0.1", 1},
		{"host.banger.internal.", dns.TypeAAAA, "NOERROR", 0},
		{"box.banger.internal.", dns.TypeA, "NOERROR 198.18.0.2", 1},
		{"nobody.banger.internal.", dns.TypeA, "NXDOMAIN", 0},
		{`a\.b.example.org.`, dns.TypeA, "NXDOMAIN", 0},
		{"example.org.", dns.TypeANY, "NOTIMP", 0},
		{"1.0.18.198.in-addr.arpa.", dns.TypePTR, "NOERROR", 1},
		{"34.216.184.93.in-addr.arpa.", dns.TypePTR, "NOERROR", 1},
		{"1.0.0.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN", 0},
	} {
		for _, tcp := range []bool{false, true} {
			reply := lookup(t, g, c.name, c.qtype, tcp)
			if got := addresses(reply); got != c.want || len(reply.Answer) != c.count {
				t.Errorf("%s %s (TCP: %v): %s, want %s with %d records\n%s", c.name, dns.TypeToString[c.qtype], tcp, got, c.want, c.count, reply)
			}
		}
	}
	if rule, n := w.denied("box", "dns", "private.example.org"); n != 2 || !strings.Contains(rule, "RFC 1918") {
		t.Errorf("the private answer was denied %d times by %q", n, rule)
	}
}

func TestDNSUnderOpenFindsTheHostsNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := resolver(t, w, "")
	g := w.guest(2, "box", "open")
	if got := addresses(lookup(t, g, "intranet.corp.lan.", dns.TypeA, false)); got != "NOERROR 10.0.0.7" {
		t.Error(got)
	}
	if got := addresses(lookup(t, g, "intranet.", dns.TypeA, false)); got != "NXDOMAIN" {
		t.Error(got)
	}
	// The host's configuration changes: the next question follows it.
	w.resolvConf(t, "search lan corp.lan\nnameserver 127.0.0.1\n")
	if got := addresses(lookup(t, g, "intranet.", dns.TypeA, false)); got != "NOERROR 10.0.0.7" {
		t.Error(got)
	}
	w.resolvConf(t, "# nothing\n")
	before := asked.Load()
	if got := addresses(lookup(t, g, "example.org.", dns.TypeA, false)); got != "SERVFAIL" || asked.Load() != before {
		t.Errorf("without a resolver: %s", got)
	}
	os.Remove(w.resolv)
	if got := addresses(lookup(t, g, "example.org.", dns.TypeA, false)); got != "SERVFAIL" {
		t.Errorf("without a configuration: %s", got)
	}
}

func TestDNSUnderNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := resolver(t, w, "")
	g := w.guest(2, "box", "none")
	conn, err := g.DialUDP(netdtest.Gateway + ":53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packed, _ := new(dns.Msg).SetQuestion("example.org.", dns.TypeA).Pack()
	g.Forget()
	conn.Write(packed)
	if f := g.Await(20*time.Second, isICMP); f == nil || f[34] != 3 {
		t.Errorf("want port unreachable, got %x", f)
	}
	if _, err := g.Dial(short(t), netdtest.Gateway+":53"); !netdtest.Refused(err) {
		t.Errorf("over TCP: %v", err)
	}
	if asked.Load() != 0 {
		t.Error("the host's resolver was asked")
	}
}

// TestNamesOfAList is the allow-list by names: what a listed name stands for is reached, and nothing else is, however it
// is asked for.
func TestNamesOfAList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	asked := resolver(t, w, "")
	for _, address := range []string{"93.184.216.34:443", "93.184.216.34:80", "93.184.216.35:443", "93.184.216.36:443", "93.184.216.99:443", "10.0.0.1:443"} {
		w.internet.TCP(t, address, echo)
	}
	g := w.guest(2, "box", "example.org:443,*.example.org:443")
	try := func(address string, want bool) {
		t.Helper()
		conn, err := g.Dial(short(t), address)
		if (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
		if err == nil {
			conn.Close()
		} else if !want && !netdtest.Refused(err) {
			t.Errorf("%s: %v; want a refusal", address, err)
		}
	}
	try("93.184.216.34:443", false) // before it was resolved, it is an address like any other
	if got := addresses(lookup(t, g, "example.org.", dns.TypeA, false)); got != "NOERROR 93.184.216.34" {
		t.Fatal(got)
	}
	try("93.184.216.34:443", true)
	try("93.184.216.34:80", false)
	before := asked.Load()
	if got := addresses(lookup(t, g, "other.net.", dns.TypeA, false)); got != "NXDOMAIN" {
		t.Error(got)
	}
	if asked.Load() != before {
		t.Error("a name that is not listed left the host")
	}
	if rule, n := w.denied("box", "dns", "other.net"); n != 1 || !strings.Contains(rule, "names it") {
		t.Errorf("denied %d times by %q", n, rule)
	}
	try("93.184.216.36:443", false)
	// Through aliases to a name that is not listed itself.
	try("93.184.216.35:443", false)
	if got := addresses(lookup(t, g, "www.example.org.", dns.TypeA, false)); got != "NOERROR 93.184.216.35" {
		t.Error(got)
	}
	try("93.184.216.35:443", true)
	if got := addresses(lookup(t, g, "pop.cdn.net.", dns.TypeA, false)); got != "NXDOMAIN" {
		t.Error(got)
	}
	try("93.184.216.99:443", false) // was in every answer, and no name led to it
	// Rebinding: a listed name stands for an address of the host's network.
	if got := addresses(lookup(t, g, "rebound.example.org.", dns.TypeA, false)); got != "NOERROR 93.184.216.34" {
		t.Error(got)
	}
	try("10.0.0.1:443", false)
	if got := addresses(lookup(t, g, "loop.example.org.", dns.TypeA, false)); got != "NOERROR" {
		t.Error(got)
	}
	// Another list: what the old one allowed goes, and the table of names with it.
	conn, err := g.Dial(short(t), "93.184.216.34:443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.set(description(g, "box", "example.org:443"))
	if err := says(t, conn, "kept"); err != nil {
		t.Errorf("still allowed: %v", err)
	}
	try("93.184.216.35:443", false)
	w.set(description(g, "box", "other.net"))
	if err := says(t, conn, "ended"); err == nil {
		t.Error("not allowed any more, and goes on")
	}
}

func TestDNSLargeAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var many strings.Builder
	for i := range 400 {
		fmt.Fprintf(&many, "many.net. 60 IN A 93.184.%d.%d\n", 1+i/200, 1+i%200)
	}
	resolver(t, w, many.String())
	g := w.guest(2, "box", "public")
	if reply := lookup(t, g, "many.net.", dns.TypeA, false); !reply.Truncated {
		t.Errorf("a datagram holds %d records", len(reply.Answer))
	}
	if reply := lookup(t, g, "many.net.", dns.TypeA, true); reply.Truncated || len(reply.Answer) != 400 {
		t.Errorf("over TCP came %d records, truncated: %v", len(reply.Answer), reply.Truncated)
	}
}

func TestDNSOfGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resolver(t, w, "")
	a := w.guest(2, "a", "group:one")
	w.guest(3, "b", "group:one,public")
	c := w.guest(4, "c", "group:two,public")
	for _, name := range []string{"b.", "b.banger.internal."} {
		if got := addresses(lookup(t, a, name, dns.TypeA, false)); got != "NOERROR 198.18.0.3" {
			t.Errorf("%s in its group: %s", name, got)
		}
		if got := addresses(lookup(t, c, name, dns.TypeA, false)); got != "NXDOMAIN" {
			t.Errorf("%s in another group: %s", name, got)
		}
	}
	if reply := lookup(t, a, "3.0.18.198.in-addr.arpa.", dns.TypePTR, false); len(reply.Answer) != 1 {
		t.Errorf("%s", reply)
	}
	if reply := lookup(t, c, "3.0.18.198.in-addr.arpa.", dns.TypePTR, false); len(reply.Answer) != 0 {
		t.Errorf("%s", reply)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resolver(t, w, "")
	w.guest(2, "box", "*.example.org:443,10.0.0.0/8:22,group:one")
	w.guest(3, "peer", "group:one")
	for _, c := range []struct {
		to   string
		want bool
		rule string
	}{
		{"www.example.org:443", true, "*.example.org:443"},
		{"www.example.org:80", false, "port 80"},
		{"rebound.example.org:443", true, "*.example.org:443"},
		{"private.example.org:443", false, "RFC 1918"},
		{"other.net:443", false, "names it"},
		{"10.0.0.1:22", true, "10.0.0.0/8:22"},
		{"10.0.0.1:23", false, "no entry"},
		{"peer:80", true, "group"},
		{"peer.banger.internal:80", true, "group"},
		{"198.18.0.3:80", true, "group"},
		{"host.banger.internal:80", false, "not opened"},
		{"missing.example.org:443", false, "no IPv4 address"},
	} {
		verdict, addrs, err := w.Check(t.Context(), "id-box", c.to)
		if err != nil || verdict.Allowed != c.want || !strings.Contains(verdict.Rule, c.rule) {
			t.Errorf("%s: %+v %v %v; want %v by %q", c.to, verdict, addrs, err, c.want, c.rule)
		}
	}
	for _, bad := range []string{"", "example.org", ":80", "example.org:0", "example.org:http"} {
		if _, _, err := w.Check(t.Context(), "id-box", bad); err == nil {
			t.Errorf("%q was checked", bad)
		}
	}
	if list, _ := w.Denied("id-box", nil); len(list) != 0 {
		t.Errorf("checking counts as wanting: %+v", list)
	}
}
