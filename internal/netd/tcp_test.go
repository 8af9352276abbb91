package netd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"banger/internal/netd/netdtest"
	"banger/internal/netd/port"
)

func TestTCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	g := w.guest(2, "box", "public")
	conn, err := g.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	if err := says(t, conn, "hello"); err != nil {
		t.Fatal(err)
	}
	// Half-close: the guest's end reaches the server, whose last words still come.
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Errorf("after the end came %q, %v", rest, err)
	}
	conn.Close()
}

func TestTCPHalfCloseByTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heard := make(chan string, 1)
	w.internet.TCP(t, web, func(conn *net.TCPConn) {
		io.WriteString(conn, "I am done")
		conn.CloseWrite()
		all, _ := io.ReadAll(conn)
		heard <- string(all)
	})
	g := w.guest(2, "box", "public")
	conn, err := g.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if all, err := io.ReadAll(conn); err != nil || string(all) != "I am done" {
		t.Fatalf("%q, %v", all, err)
	}
	if _, err := io.WriteString(conn, "I am not"); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	if got := <-heard; got != "I am not" {
		t.Errorf("the server heard %q", got)
	}
}

func TestTCPRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, "10.0.0.1:22", echo)
	g := w.guest(2, "box", "public")
	for _, c := range []struct{ to, rule string }{
		{"10.0.0.1:22", "RFC 1918"},
		{"169.254.169.254:80", "metadata"},
		{"93.184.216.1:22", "address of the host"},
		{"198.18.0.9:22", "range of the VMs"},
		{"198.18.0.1:22", "not opened"},
	} {
		_, err := g.Dial(short(t), c.to)
		if !netdtest.Refused(err) {
			t.Errorf("%s: %v, want a refusal at once", c.to, err)
		}
		if rule, n := w.denied("box", "tcp", c.to); n != 1 || !strings.Contains(rule, c.rule) {
			t.Errorf("%s was denied %d times by %q, want by %q", c.to, n, rule, c.rule)
		}
		if w.internet.Dialed("tcp4", c.to) {
			t.Errorf("%s was connected to", c.to)
		}
	}
	// One that is allowed, where nobody listens, is refused too, and is no denial.
	if _, err := g.Dial(short(t), "93.184.216.34:81"); !netdtest.Refused(err) {
		t.Errorf("nobody listens: %v", err)
	}
	if _, n := w.denied("box", "tcp", "93.184.216.34:81"); n != 0 {
		t.Error("a server that refuses is listed as denied")
	}
}

func TestTCPServerThatResets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, func(conn *net.TCPConn) { conn.SetLinger(0) })
	g := w.guest(2, "box", "public")
	conn, err := g.Dial(short(t), web)
	if err != nil {
		return // reset before the handshake was over
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("reading from a connection that was reset: %v", err)
	}
}

// numbers yields bytes that no shift or loss leaves as they are.
type numbers struct{ state uint64 }

// Read fills p as far as it holds whole numbers.
func (n *numbers) Read(p []byte) (int, error) {
	size := max(len(p)&^7, min(len(p), 1))
	for i := 0; i < size; i += 8 {
		n.state = n.state*6364136223846793005 + 1442695040888963407
		if len(p) < 8 {
			p[0] = byte(n.state >> 56)
			return 1, nil
		}
		binary.LittleEndian.PutUint64(p[i:], n.state^n.state>>32)
	}
	return size, nil
}

func digest(h hash.Hash) []byte { return h.Sum(nil) }

func TestTCPCarriesMuch(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	w := newWorld(t)
	received := make(chan []byte, 1)
	w.internet.TCP(t, web, func(conn *net.TCPConn) {
		h := sha256.New()
		if n, err := io.Copy(h, conn); err != nil || n != size {
			t.Errorf("the server received %d, %v", n, err)
		}
		received <- digest(h)
		io.Copy(conn, io.LimitReader(&numbers{state: 2}, size))
	})
	g := w.guest(2, "box", "public")
	conn, err := g.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := sha256.New()
	if _, err := io.Copy(conn, io.TeeReader(io.LimitReader(&numbers{state: 1}, size), sent)); err != nil {
		t.Fatal(err)
	}
	conn.CloseWrite()
	if got := <-received; !bytes.Equal(got, digest(sent)) {
		t.Error("what the guest sent arrived otherwise")
	}
	want, got := sha256.New(), sha256.New()
	io.Copy(want, io.LimitReader(&numbers{state: 2}, size))
	if n, err := io.Copy(got, conn); err != nil || n != size || !bytes.Equal(digest(got), digest(want)) {
		t.Errorf("the guest received %d, %v, right: %v", n, err, bytes.Equal(digest(got), digest(want)))
	}
}

func TestPolicyChangesLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	w.internet.TCP(t, "10.0.0.1:22", echo)
	g := w.guest(2, "box", "public,10.0.0.0/8:22")
	inside, err := g.Dial(short(t), "10.0.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	outside, err := g.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if err := errors.Join(says(t, inside, "one"), says(t, outside, "one")); err != nil {
		t.Fatal(err)
	}
	bad := description(g, "box", "public,nonsense")
	if _, err := w.trySet(bad); err == nil {
		t.Fatal("a bad policy was taken")
	}
	if err := errors.Join(says(t, inside, "two"), says(t, outside, "two")); err != nil {
		t.Fatalf("a change that failed ended a connection: %v", err)
	}
	w.set(description(g, "box", "public"))
	if err := says(t, outside, "three"); err != nil {
		t.Errorf("what is still allowed ended: %v", err)
	}
	if err := says(t, inside, "three"); err == nil {
		t.Error("what is not allowed any more goes on")
	}
	if _, err := g.Dial(short(t), "10.0.0.1:22"); !netdtest.Refused(err) {
		t.Errorf("the old policy still holds: %v", err)
	}
	w.set(description(g, "box", "none"))
	if err := says(t, outside, "four"); err == nil {
		t.Error("a connection lives under none")
	}
	if _, err := g.Dial(short(t), web); !netdtest.Refused(err) {
		t.Errorf("under none: %v", err)
	}
	w.set(description(g, "box", "open"))
	again, err := g.Dial(short(t), "10.0.0.1:22")
	if err != nil {
		t.Fatalf("under open: %v", err)
	}
	again.Close()
}

func TestHostPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { echo(conn.(*net.TCPConn)); conn.Close() }()
		}
	}()
	number := l.Addr().(*net.TCPAddr).AddrPort().Port()
	g := netdtest.New(t, 2, testMTU)
	m := description(g, "box", "public")
	m.HostPorts = []uint32{uint32(number)}
	w.set(m)
	_, portText, _ := net.SplitHostPort(l.Addr().String())
	conn, err := g.Dial(short(t), netdtest.Gateway+":"+portText)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := says(t, conn, "host"); err != nil {
		t.Fatal(err)
	}
	hasty, cancel := context.WithTimeout(t.Context(), time.Second) // no kernel sends such a packet: it is dropped
	defer cancel()
	if _, err := g.Dial(hasty, l.Addr().String()); err == nil {
		t.Error("the host's loopback was reached by its own address")
	}
	m.HostPorts = nil
	w.set(m)
	if err := says(t, conn, "gone"); err == nil {
		t.Error("the connection outlives the host port")
	}
}

func TestTCPLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(e *port.Env) { e.Limits.TCP = 3 })
	w.internet.TCP(t, web, echo)
	g, other := w.guest(2, "box", "public"), w.guest(3, "other", "public")
	var open []io.Closer
	for range 3 {
		conn, err := g.Dial(short(t), web)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if _, err := g.Dial(short(t), web); !netdtest.Refused(err) {
		t.Errorf("one too many: %v", err)
	}
	if conn, err := other.Dial(short(t), web); err != nil {
		t.Errorf("another VM pays for it: %v", err)
	} else {
		conn.Close()
	}
	for _, c := range open {
		c.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := g.Dial(short(t), web)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("closed connections still count: %v", err)
		}
	}
}

func TestVMMGoneAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ended := make(chan error, 1)
	w.internet.TCP(t, web, func(conn *net.TCPConn) {
		_, err := io.Copy(io.Discard, conn)
		select {
		case ended <- err:
		default:
		}
	})
	g := w.guest(2, "box", "public")
	if _, err := g.Dial(short(t), web); err != nil {
		t.Fatal(err)
	}
	g.Hang()
	if err := <-ended; err == nil {
		t.Error("the server was told of an orderly end")
	}
	g.Listen()
	conn, err := g.Dial(short(t), web)
	if err != nil {
		t.Fatalf("after the VMM came back: %v", err)
	}
	conn.Close()
}

// TestManyConnections has a guest read nothing of many connections that bring it endless bytes; the ones that it does use
// work, its own and those of another VM.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	w.internet.TCP(t, "93.184.216.34:81", func(conn *net.TCPConn) {
		conn.SetWriteBuffer(64 << 10)
		for chunk := make([]byte, 64<<10); ; {
			if _, err := conn.Write(chunk); err != nil {
				return
			}
		}
	})
	g, other := w.guest(2, "box", "public"), w.guest(3, "other", "public")
	for range 150 {
		conn, err := g.Dial(short(t), "93.184.216.34:81")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for name, guest := range map[string]*netdtest.Guest{"the same VM": g, "another VM": other} {
		conn, err := guest.Dial(short(t), web)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := says(t, conn, strings.Repeat("much ", 100000)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
}
