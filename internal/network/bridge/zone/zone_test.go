package zone

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"banger/internal/model"
	"banger/internal/testenv"
)

const patience = 5 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers on the loopback, at an address that is returned.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	tcp, udp := testenv.ListenBoth(t)
	s.Serve(udp, tcp)
	t.Cleanup(s.Close)
	return tcp.Addr().String()
}

func newServer(t *testing.T) *Server {
	t.Helper()
	s := New(slog.New(slog.DiscardHandler))
	for name, address := range map[string]string{"box": "198.18.4.2", "a-1": "198.18.4.3"} {
		if err := s.Set(model.NewVMID(), name, netip.MustParseAddr(address)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func ask(t *testing.T, at, network string, query *dns.Msg) *dns.Msg {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: patience / 5}
	var reply *dns.Msg
	var err error
	for range 5 { // datagrams are lost
		if reply, _, err = client.Exchange(query, at); err == nil {
			return reply
		}
	}
	t.Fatalf("%s: %v: %v", network, query.Question, err)
	return nil
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	at := serve(t, newServer(t))
	for _, c := range []struct {
		name   string
		qtype  uint16
		rcode  int
		answer string
	}{
		{"box.vm.", dns.TypeA, dns.RcodeSuccess, "198.18.4.2"},
		{"BoX.Vm.", dns.TypeA, dns.RcodeSuccess, "198.18.4.2"},
		{"a-1.vm.", dns.TypeA, dns.RcodeSuccess, "198.18.4.3"},
		{"box.vm.", dns.TypeANY, dns.RcodeSuccess, "198.18.4.2"},
		{"box.vm.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"box.vm.", dns.TypeHTTPS, dns.RcodeSuccess, ""},
		{"vm.", dns.TypeSOA, dns.RcodeSuccess, "vm. ."},
		{"vm.", dns.TypeA, dns.RcodeSuccess, ""},
		{"other.vm.", dns.TypeA, dns.RcodeNameError, ""},
		{"other.vm.", dns.TypeAAAA, dns.RcodeNameError, ""},
		{"www.box.vm.", dns.TypeA, dns.RcodeNameError, ""},
		{`www\.box.vm.`, dns.TypeA, dns.RcodeNameError, ""},
		{`\000\255.vm.`, dns.TypeA, dns.RcodeNameError, ""},
		{"box.", dns.TypeA, dns.RcodeRefused, ""},
		{"box.vm.example.org.", dns.TypeA, dns.RcodeRefused, ""},
		{"example.org.", dns.TypeA, dns.RcodeRefused, ""},
		{"boxvm.", dns.TypeA, dns.RcodeRefused, ""},
		{`box\.vm.`, dns.TypeA, dns.RcodeRefused, ""},
		{".", dns.TypeNS, dns.RcodeRefused, ""},
		{"2.4.18.198.in-addr.arpa.", dns.TypePTR, dns.RcodeRefused, ""},
		{"vm.", dns.TypeAXFR, dns.RcodeRefused, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			reply := ask(t, at, network, new(dns.Msg).SetQuestion(c.name, c.qtype))
			if reply.Rcode != c.rcode {
				t.Errorf("%s: %s %s: %s", network, c.name, dns.TypeToString[c.qtype], dns.RcodeToString[reply.Rcode])
			}
			var answers []string
			for _, rr := range append(reply.Answer, reply.Ns...) {
				if rr.Header().Ttl != 0 {
					t.Errorf("%s may be remembered", rr)
				}
			}
			for _, rr := range reply.Answer {
				answers = append(answers, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			if got := strings.Join(answers, " "); (c.answer == "") != (got == "") || !strings.HasPrefix(got, c.answer) {
				t.Errorf("%s: %s %s: got %q, want %q", network, c.name, dns.TypeToString[c.qtype], got, c.answer)
			}
			if in := c.rcode != dns.RcodeRefused; reply.Authoritative != in || in && len(reply.Answer) == 0 && len(reply.Ns) != 1 {
				t.Errorf("%s: %s: authoritative %v, %v", network, c.name, reply.Authoritative, reply.Ns)
			}
		}
	}
}

// TestNamesComeAndGo has each change be seen by the next question.
func TestNamesComeAndGo(t *testing.T) {
	t.Parallel()
	s := New(slog.New(slog.DiscardHandler))
	at := serve(t, s)
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}}
	finds := func(name, want string) {
		t.Helper()
		got, err := resolver.LookupNetIP(t.Context(), "ip4", name+".vm.")
		var none *net.DNSError
		if want == "" && errors.As(err, &none) && none.IsNotFound {
			return
		}
		if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: %v, %v; want %q", name, got, err, want)
		}
	}
	a, b := model.NewVMID(), model.NewVMID()
	set := func(id model.VMID, name, address string) {
		t.Helper()
		if err := s.Set(id, name, netip.MustParseAddr(address)); err != nil {
			t.Fatal(err)
		}
	}
	finds("one", "")
	set(a, "one", "198.18.4.2")
	finds("one", "198.18.4.2")
	set(a, "two", "198.18.4.2")
	finds("one", "")
	finds("two", "198.18.4.2")
	set(b, "two", "198.18.4.3") // as after a rename, whose order nobody knows
	set(a, "one", "198.18.4.2")
	finds("one", "198.18.4.2")
	finds("two", "198.18.4.3")
	if got := s.HostName(b); got != "two.vm" {
		t.Errorf("it is called %q", got)
	}
	if left := s.Remove(a); left != 1 {
		t.Errorf("%d are left", left)
	}
	finds("one", "")
	finds("two", "198.18.4.3")
	if left := s.Keep(map[model.VMID]bool{a: true}); left != 0 {
		t.Errorf("%d are left", left)
	}
	finds("two", "")
	for _, wrong := range []string{"", "a.b", "a b", "-a", strings.Repeat("a", 64), "UP"} {
		if err := s.Set(a, wrong, netip.MustParseAddr("198.18.4.2")); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestHostileQuestions has everything that is no question be answered as such or not at all, and a flood end with answers.
func TestHostileQuestions(t *testing.T) {
	t.Parallel()
	at := serve(t, newServer(t))
	good, err := new(dns.Msg).SetQuestion("box.vm.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	loop := append([]byte{}, good[:12]...)
	loop = append(loop, 0xc0, 12, 0, 1, 0, 1) // a name that is where it points
	many := append([]byte{}, good...)
	binary.BigEndian.PutUint16(many[4:], 65535)
	response := append([]byte{}, good...)
	response[2] |= 0x80
	for _, bad := range [][]byte{{}, {0}, good[:11], good[:len(good)-1], loop, many, response, make([]byte, 65000), []byte(strings.Repeat("\xff", 4096))} {
		if _, err := c.Write(bad); err != nil {
			t.Fatal(err)
		}
	}
	for range 5000 {
		_, _ = c.Write(good) // some are lost: there is one buffer
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	reply := make([]byte, 65536)
	if n, err := c.Read(reply); err != nil || n > dns.MinMsgSize {
		t.Errorf("after a flood: %d bytes, %v", n, err)
	}
	for name, query := range map[string]*dns.Msg{
		dns.RcodeToString[dns.RcodeNotImplemented]: {MsgHdr: dns.MsgHdr{Id: 1, Opcode: dns.OpcodeUpdate}, Question: []dns.Question{{Name: "vm.", Qtype: dns.TypeSOA, Qclass: dns.ClassINET}}},
		dns.RcodeToString[dns.RcodeFormatError]:    {MsgHdr: dns.MsgHdr{Id: 2}},
		dns.RcodeToString[dns.RcodeRefused]:        {MsgHdr: dns.MsgHdr{Id: 3}, Question: []dns.Question{{Name: "box.vm.", Qtype: dns.TypeA, Qclass: dns.ClassCHAOS}}},
	} {
		if got := dns.RcodeToString[ask(t, at, "udp", query).Rcode]; got != name {
			t.Errorf("got %s, want %s", got, name)
		}
	}
	future := new(dns.Msg).SetQuestion("box.vm.", dns.TypeA)
	future.SetEdns0(4096, true)
	future.IsEdns0().SetVersion(1)
	if reply := ask(t, at, "udp", future); reply.Rcode != dns.RcodeBadVers || len(reply.Answer) != 0 {
		t.Errorf("a later EDNS: %v", reply)
	}
}

// TestConnectionsAreBounded holds all that there are: one more is cut off, datagrams go on, and a place that becomes free
// is had again.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	at := serve(t, newServer(t))
	query := new(dns.Msg).SetQuestion("box.vm.", dns.TypeA)
	over := func() (*dns.Conn, error) {
		c, err := dns.DialTimeout("tcp4", at, patience)
		if err != nil {
			return nil, err
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if err := c.WriteMsg(query); err == nil {
			_, err = c.ReadMsg()
			return c, err
		}
		return c, err
	}
	var held []*dns.Conn
	for i := range maxConnections {
		c, err := over()
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		held = append(held, c)
	}
	if c, err := over(); err == nil {
		c.Close()
		t.Errorf("connection %d is answered", maxConnections)
	}
	ask(t, at, "udp", query)
	held[0].Close()
	end := time.Now().Add(patience)
	for {
		c, err := over()
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after one ended: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestCloseCutsOff has nobody be answered any more, also on a connection that is open, until it serves again.
func TestCloseCutsOff(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	at := serve(t, s)
	c, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the connection: %v", err)
	}
	if s.Serving() {
		t.Error("it serves")
	}
	if reply := ask(t, serve(t, s), "udp", new(dns.Msg).SetQuestion("box.vm.", dns.TypeA)); len(reply.Answer) != 1 {
		t.Errorf("when it serves again: %v", reply)
	}
}

func TestGuestsAreNotWelcome(t *testing.T) {
	t.Parallel()
	own := &net.UDPAddr{IP: net.ParseIP("198.18.4.1"), Port: 53}
	for address, want := range map[string]bool{
		"198.18.4.1": true, "127.0.0.1": true, "10.0.0.1": true, "198.18.4.2": false, "198.18.0.1": false, "198.19.255.254": false,
	} {
		from := &net.UDPAddr{IP: net.ParseIP(address), Port: 4000}
		if got := welcome(from, own); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if welcome(&net.IPAddr{}, own) {
		t.Error("an address of no kind that is known")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"box.vm.", "vm.", `a\.b.vm.`} {
		query := new(dns.Msg).SetQuestion(name, dns.TypeA)
		query.SetEdns0(512, true)
		packed, err := query.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	s := New(slog.New(slog.DiscardHandler))
	if err := s.Set(model.NewVMID(), "box", netip.MustParseAddr("198.18.4.2")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		query := new(dns.Msg)
		if query.Unpack(data) != nil {
			return
		}
		reply := s.answer(query)
		if reply == nil {
			return
		}
		packed, err := reply.Pack()
		if err == nil && len(packed) > 1024 {
			t.Errorf("%d bytes", len(packed))
		}
	})
}
