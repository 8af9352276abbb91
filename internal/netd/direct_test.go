package netd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	netdv1 "banger/api/netd/v1"
	"banger/internal/model"
	"banger/internal/netd/port"
)

const directAddress = "198.18.4.2"

// directWorld has guests whose packets the kernel carries: their addresses are the loopback's, at ports that the kernel
// chose for theirs.
func directWorld(t *testing.T, guests map[string]string, change ...func(*port.Env)) *world {
	t.Helper()
	return newWorld(t, append(change, func(env *port.Env) {
		env.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			at, known := guests[network+" "+address]
			if !known {
				at = "127.0.0.1:1" // where nobody listens
			}
			return port.HostDial(ctx, network, at)
		}
	})...)
}

func publication(name string, specs ...string) *netdv1.Port {
	return &netdv1.Port{VmId: "id-" + name, Name: name, Address: directAddress, Gateway: "198.18.4.1", Policy: "none", Direct: true, Forwards: forwards(specs...)}
}

func (w *world) publish(m *netdv1.Port) []port.Forward {
	w.t.Helper()
	taken, err := w.tryPublish(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return taken
}

func (w *world) tryPublish(m *netdv1.Port) ([]port.Forward, error) {
	p, err := publicationOf(m)
	if err != nil {
		return nil, err
	}
	there, err := w.Publish(p)
	return there.Forwards, err
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func reach(t *testing.T, f port.Forward) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp4", hostAddr(f))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn.(*net.TCPConn)
}

// wantReset reads until the connection was reset, and not just ended.
func wantReset(t *testing.T, conn net.Conn, why string) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%s: %v, want a reset", why, err)
	}
}

// wantRefusal connects, and is reset, which may be so fast that the connecting fails.
func wantRefusal(t *testing.T, f port.Forward, why string) {
	t.Helper()
	conn, err := net.Dial("tcp4", hostAddr(f))
	if errors.Is(err, unix.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	wantReset(t, conn, why)
}

func TestDirectTCP(t *testing.T) {
	t.Parallel()
	l := listen(t)
	w := directWorld(t, map[string]string{"tcp4 " + directAddress + ":80": l.Addr().String()})
	taken := w.publish(publication("box", "127.0.0.1 0 80 tcp", "127.0.0.1 0 81 tcp"))
	// Each end's last word is passed on, while the other goes on.
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		said, _ := io.ReadAll(conn)
		_, _ = conn.Write([]byte("heard " + string(said)))
	}()
	conn := reach(t, taken[0])
	if _, err := conn.Write([]byte("all of it")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(conn); err != nil || string(said) != "heard all of it" {
		t.Errorf("%q, %v", said, err)
	}
	wantRefusal(t, taken[1], "where nobody listens in the guest")

	// A guest that resets is seen to.
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}()
	wantRefusal(t, taken[0], "of a guest that resets")
}

// TestDirectChanges has connections that go on when something else changes, and end when theirs does.
func TestDirectChanges(t *testing.T) {
	t.Parallel()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	w := directWorld(t, map[string]string{"tcp4 " + directAddress + ":80": l.Addr().String(), "tcp4 198.18.4.9:80": l.Addr().String()})
	taken := w.publish(publication("box", "127.0.0.1 0 80 tcp"))
	echo := func(conn net.Conn) error {
		if _, err := conn.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err
	}
	conn := reach(t, taken[0])
	if err := echo(conn); err != nil {
		t.Fatal(err)
	}
	another := publication("another", "127.0.0.1 0 80 tcp", "127.0.0.1 0 80 tcp")
	another.Address = "198.18.4.3"
	w.publish(another)
	m := publication("box", "127.0.0.1 0 80 tcp", "127.0.0.1 0 81 udp")
	m.Name = "other-name"
	if again := w.publish(m); again[0] != taken[0] {
		t.Errorf("%+v became %+v", taken, again)
	}
	if err := echo(conn); err != nil {
		t.Errorf("after a change of other ports: %v", err)
	}
	if all := w.List(); len(all) != 2 || all[1].ID != "id-box" || all[1].Name != "other-name" || len(all[1].Forwards) != 2 || all[1].Forwards[0] != taken[0] {
		t.Errorf("the list is %+v", all)
	}
	// A port that another VM has.
	bad := publication("another", "127.0.0.1 0 7 tcp")
	bad.Address = another.GetAddress()
	bad.Forwards[0].HostPort = uint32(taken[0].HostPort)
	if _, err := w.tryPublish(bad); !errors.Is(err, model.ErrExists) {
		t.Errorf("a port that is taken: %v", err)
	}
	if err := echo(conn); err != nil {
		t.Errorf("after a change that failed: %v", err)
	}
	// Another address is another guest.
	m.Address = "198.18.4.9"
	if again := w.publish(m); again[0] != taken[0] {
		t.Errorf("%+v became %+v", taken, again)
	}
	wantReset(t, conn, "of a guest that had the address before")
	conn = reach(t, taken[0])
	if err := echo(conn); err != nil {
		t.Error(err)
	}
	w.Keep([]string{"id-box"})
	if all := w.List(); len(all) != 1 {
		t.Errorf("kept are %+v", all)
	}
	w.Clear("id-box")
	wantReset(t, conn, "of a port that was withdrawn")
	if conn, err := net.Dial("tcp4", hostAddr(taken[0])); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	w.Clear("id-box")
}

func TestDirectUDP(t *testing.T) {
	t.Parallel()
	u, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
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
	w := directWorld(t, map[string]string{"udp4 " + directAddress + ":53": u.LocalAddr().String()}, func(env *port.Env) { env.Limits.UDP = 2 })
	taken := w.publish(publication("box", "127.0.0.1 0 53 udp"))
	var open []net.Conn
	for range 2 {
		conn, err := net.Dial("udp4", hostAddr(taken[0]))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
		for _, word := range []string{"one", "two"} {
			if got, err := ask(t, conn, word); err != nil || got != "re: "+word {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
	third, err := net.Dial("udp4", hostAddr(taken[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	_ = third.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := third.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := third.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("above the limit: %v", err)
	}
	if got, err := ask(t, open[0], "three"); err != nil || got != "re: three" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDirectTCPLimit has as many connections as a VM may have, and one more.
func TestDirectTCPLimit(t *testing.T) {
	t.Parallel()
	l := listen(t)
	w := directWorld(t, map[string]string{"tcp4 " + directAddress + ":80": l.Addr().String()}, func(env *port.Env) { env.Limits.TCP = 4 })
	taken := w.publish(publication("box", "127.0.0.1 0 80 tcp"))
	for range 2 {
		reach(t, taken[0])
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	wantRefusal(t, taken[0], "above the limit")
}

func TestBadPublications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.guest(2, "carried", "public")
	for name, change := range map[string]func(*netdv1.Port){
		"no id":           func(m *netdv1.Port) { m.VmId = "" },
		"no name":         func(m *netdv1.Port) { m.Name = "" },
		"no address":      func(m *netdv1.Port) { m.Address = "" },
		"a prefix":        func(m *netdv1.Port) { m.Address += "/32" },
		"the host":        func(m *netdv1.Port) { m.Address = "127.0.0.1" },
		"another network": func(m *netdv1.Port) { m.Address = "10.0.0.2" },
		"no gateway":      func(m *netdv1.Port) { m.Gateway = "" },
		"its own gateway": func(m *netdv1.Port) { m.Gateway = m.GetAddress() },
		"a far gateway":   func(m *netdv1.Port) { m.Gateway = "10.0.0.1" },
		"a bad policy":    func(m *netdv1.Port) { m.Policy = "pubic" },
		"a socket":        func(m *netdv1.Port) { m.Socket = "/net" },
		"a host port":     func(m *netdv1.Port) { m.HostPorts = []uint32{65536} },
		"no host port":    func(m *netdv1.Port) { m.HostPorts = []uint32{0} },
		"a bad door":      func(m *netdv1.Port) { m.Doors = []*netdv1.Door{{Port: 53, At: 65536}} },
		"a door nowhere":  func(m *netdv1.Port) { m.Doors = []*netdv1.Door{{Port: 53}} },
		"no port":         func(m *netdv1.Port) { m.Forwards = forwards("127.0.0.1 0 0 tcp") },
		"too many ports": func(m *netdv1.Port) {
			m.Forwards = forwards(strings.Split(strings.Repeat("127.0.0.1 0 1 tcp;", 300), ";")[:300]...)
		},
		"one that we carry": func(m *netdv1.Port) { m.VmId = "id-carried" },
	} {
		m := publication("box", "127.0.0.1 0 80 tcp")
		change(m)
		if _, err := w.tryPublish(m); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if all := w.List(); len(all) != 1 {
		t.Errorf("there are %+v", all)
	}
	w.publish(publication("box", "127.0.0.1 0 80 tcp"))
	m := description(w.guest(3, "other", "public"), "box", "public")
	m.VmId = "id-box"
	if _, err := w.trySet(m); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("carrying one that is published only: %v", err)
	}
	if addr := netip.MustParseAddr(directAddress); w.peer(nil, addr) != nil {
		t.Error("others reach it here")
	}
}
