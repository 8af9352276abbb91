package netd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/netd/netdtest"
	"banger/internal/netd/port"
)

func ask(t testing.TB, conn net.Conn, question string) (string, error) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(question)); err != nil {
		return "", err
	}
	buf := make([]byte, 64<<10)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func TestUDP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.UDP(t, "93.184.216.34:123", func(b []byte) []byte { return append([]byte("re: "), b...) })
	g := w.guest(2, "box", "public")
	conn, err := g.DialUDP("93.184.216.34:123")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, question := range []string{"a", strings.Repeat("long ", 12000), "b"} {
		if got, err := ask(t, conn, question); err != nil || got != "re: "+question {
			t.Errorf("%.10q… was answered by %.10q…, %v", question, got, err)
		}
	}
}

func TestUDPRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	w.internet.Put("udp4", "93.184.216.34:9", gone.LocalAddr())
	gone.Close()
	g := w.guest(2, "box", "public")
	for _, to := range []string{"10.0.0.1:53", "93.184.216.34:9"} {
		conn, err := g.DialUDP(to)
		if err != nil {
			t.Fatal(err)
		}
		g.Forget()
		conn.Write([]byte("x"))
		if frame := g.Await(20*time.Second, isICMP); frame == nil || frame[34] != 3 || frame[35] != 3 {
			t.Errorf("%s: %x; want ICMP's port unreachable", to, frame)
		} else if about := frame[42:]; !bytes.Equal(about[16:20], netip.MustParseAddrPort(to).Addr().AsSlice()) || about[9] != 17 {
			t.Errorf("%s: the error is about %x", to, about)
		}
		conn.Close()
	}
	if rule, n := w.denied("box", "udp", "10.0.0.1:53"); n != 1 || !strings.Contains(rule, "RFC 1918") {
		t.Errorf("denied %d times by %q", n, rule)
	}
}

func TestUDPFlowsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(e *port.Env) {
		e.Limits.UDP = 1
		e.UDPFirst, e.UDPStream = 50*time.Millisecond, 100*time.Millisecond
	})
	for _, host := range []string{"93.184.216.34:1", "93.184.216.34:2"} {
		w.internet.UDP(t, host, bytes.Clone)
	}
	g := w.guest(2, "box", "public")
	first, err := g.DialUDP("93.184.216.34:1")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := ask(t, first, "x"); err != nil {
		t.Fatal(err)
	}
	second, err := g.DialUDP("93.184.216.34:2")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		second.SetDeadline(time.Now().Add(50 * time.Millisecond))
		second.Write([]byte("y"))
		if _, err := second.Read(make([]byte, 10)); err == nil {
			break // the first one's place is free
		}
		if time.Now().After(deadline) {
			t.Fatal("a flow that is idle keeps its place")
		}
	}
}

func TestForwards(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := netdtest.New(t, 2, testMTU)
	m := description(g, "box", "none")
	m.Forwards = forwards("127.0.0.1 0 8080 tcp", "127.0.0.1 0 5353 udp", "127.0.0.1 0 8080 tcp")
	taken := w.set(m)
	if len(taken) != 3 || taken[0].HostPort == 0 || taken[0].HostPort == taken[2].HostPort {
		t.Fatalf("%+v", taken)
	}
	l, u := g.ListenTCP(8080), g.ListenUDP(5353)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { conn.Write([]byte("from the guest")); conn.Close() }()
		}
	}()
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(append([]byte("re: "), buf[:n]...), from)
		}
	}()
	awaitLink(t, g)
	for _, f := range []port.Forward{taken[0], taken[2]} {
		conn, err := net.Dial("tcp4", hostAddr(f))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		if got := string(buf[:n]); got != "from the guest" {
			t.Errorf("through %+v came %q, %v", f, got, err)
		}
		conn.Close()
	}
	conn, err := net.Dial("udp4", hostAddr(taken[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, word := range []string{"one", "two"} {
		if got, err := ask(t, conn, word); err != nil || got != "re: "+word {
			t.Errorf("UDP: %q, %v", got, err)
		}
	}
	// Again is the same, also of a port that was any; less is less.
	if again := w.set(m); again[0].HostPort != taken[0].HostPort || again[1].HostPort != taken[1].HostPort || again[2].HostPort != taken[2].HostPort {
		t.Errorf("%+v became %+v", taken, again)
	}
	// Asked for by the number that it was given, it is the same one.
	m.Forwards[0].HostPort = uint32(taken[0].HostPort)
	if again := w.set(m); again[0].HostPort != taken[0].HostPort || again[2].HostPort != taken[2].HostPort {
		t.Errorf("%+v became %+v", taken, again)
	}
	m.Forwards = nil
	w.set(m)
	if conn, err := net.Dial("tcp4", hostAddr(taken[0])); err == nil {
		conn.Close()
		t.Error("a forward that was taken away still listens")
	}
}

func TestForwardToNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := netdtest.New(t, 2, testMTU)
	m := description(g, "box", "public")
	m.Forwards = forwards("127.0.0.1 0 8080 tcp")
	taken := w.set(m)
	awaitLink(t, g)
	conn, err := net.Dial("tcp4", hostAddr(taken[0]))
	if errors.Is(err, unix.ECONNRESET) {
		return // it was that fast
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("nobody listens in the guest: %v", err)
	}
}

func TestForwardsThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, taken, _ := net.SplitHostPort(other.Addr().String())
	g := netdtest.New(t, 2, testMTU)
	m := description(g, "box", "public")
	m.Forwards = forwards("127.0.0.1 0 1 tcp")
	before := w.set(m)
	for _, c := range []struct{ forward, says string }{
		{"127.0.0.1 " + taken + " 80 tcp", taken},
		{"93.184.216.34 0 80 tcp", "no such address"},
		{"nonsense 0 80 tcp", "nonsense"},
		{"127.0.0.1 0 0 tcp", "1 to 65535"},
		{"127.0.0.1 70000 80 tcp", "1 to 65535"},
	} {
		m.Forwards = forwards("127.0.0.1 0 2 tcp", c.forward)
		if _, err := w.trySet(m); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want an error that says %q", c.forward, err, c.says)
		}
	}
	// Nothing has changed.
	m.Forwards = forwards("127.0.0.1 0 1 tcp")
	if after := w.set(m); after[0] != before[0] {
		t.Errorf("%+v became %+v", before, after)
	}
}

// TestAnotherPort gives a VM another socket and MTU: that is another port, and the host's ports stay where they are.
func TestAnotherPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	first, second := netdtest.New(t, 2, testMTU), netdtest.New(t, 2, 1500)
	m := description(first, "box", "public")
	m.Forwards = forwards("127.0.0.1 0 8080 tcp")
	before := w.set(m)
	conn, err := first.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m = description(second, "box", "public")
	m.Forwards = forwards("127.0.0.1 0 8080 tcp")
	if after := w.set(m); after[0] != before[0] {
		t.Errorf("%+v became %+v", before, after)
	}
	again, err := second.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := says(t, again, "here"); err != nil {
		t.Error(err)
	}
	l := second.ListenTCP(8080)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("second"))
			conn.Close()
		}
	}()
	awaitLink(t, second)
	published, err := net.Dial("tcp4", hostAddr(before[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer published.Close()
	published.SetDeadline(time.Now().Add(20 * time.Second))
	if got, err := io.ReadAll(published); string(got) != "second" {
		t.Errorf("%q, %v", got, err)
	}
}
