package netd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	netdv1 "banger/api/netd/v1"
	"banger/internal/netd/link"
	"banger/internal/netd/names"
	"banger/internal/netd/netdtest"
	"banger/internal/netd/port"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	web     = "93.184.216.34:80" // of the tests' internet
	testMTU = 65520
)

// world is a network and its internet.
type world struct {
	*Network
	t        testing.TB
	internet *netdtest.Internet
	resolv   string
	dnsUDP   net.PacketConn // of the host's resolver, on one port
	dnsTCP   net.Listener
}

func newWorld(t testing.TB, change ...func(*port.Env)) *world {
	t.Helper()
	dialer, err := link.NewDialer()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, internet: netdtest.NewInternet(), resolv: filepath.Join(t.TempDir(), "resolv.conf")}
	for w.dnsTCP == nil {
		if w.dnsUDP, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if w.dnsTCP, err = net.Listen("tcp4", w.dnsUDP.LocalAddr().String()); err != nil {
			w.dnsTCP = nil
			w.dnsUDP.Close() // another test has that port for TCP
		}
	}
	_, dnsPort, _ := net.SplitHostPort(w.dnsUDP.LocalAddr().String())
	env := port.Env{
		Dial: w.internet.Dial, Own: func(addr netip.Addr) bool { return addr == netip.MustParseAddr("93.184.216.1") },
		Host: names.NewHost(w.resolv, dnsPort), Dialer: dialer, Limits: port.DefaultLimits(4096), Timeouts: port.DefaultTimeouts(),
		Pin: func(context.Context, port.Pin) error { return nil },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if os.Getenv("NETD_TEST_LOG") != "" {
		env.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, c := range change {
		c(&env)
	}
	w.Network = New(env, func(int) {})
	t.Cleanup(func() {
		w.Keep(nil)
		dialer.Close()
		w.dnsUDP.Close()
		w.dnsTCP.Close()
	})
	return w
}

// description is a guest's port.
func description(g *netdtest.Guest, name, policy string) *netdv1.Port {
	return &netdv1.Port{
		VmId: "id-" + name, Name: name, Socket: g.Socket, Mac: g.MAC, Address: g.Address.String() + "/15",
		Gateway: netdtest.Gateway, Mtu: g.MTU, Policy: policy,
	}
}

func (w *world) set(m *netdv1.Port) []port.Forward {
	w.t.Helper()
	taken, err := w.trySet(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return taken
}

func (w *world) trySet(m *netdv1.Port) ([]port.Forward, error) {
	c, forwards, err := configOf(m)
	if err != nil {
		return nil, err
	}
	return w.Set(c, forwards)
}

// guest makes a VM of a policy.
func (w *world) guest(n byte, name, policy string) *netdtest.Guest {
	w.t.Helper()
	g := netdtest.New(w.t, n, testMTU)
	w.set(description(g, name, policy))
	g.Connected()
	return g
}

// denied says whether a VM's list has a destination, with its rule and count.
func (w *world) denied(name, protocol, destination string) (rule string, count uint64) {
	w.t.Helper()
	list, err := w.Denied("id-"+name, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range list {
		if d.Protocol == protocol && d.Destination == destination {
			return d.Rule, d.Count
		}
	}
	return "", 0
}

func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func echo(conn *net.TCPConn) {
	_, _ = io.Copy(conn, conn)
	_ = conn.CloseWrite()
}

// says exchanges a word over an echoing connection.
func says(t testing.TB, conn net.Conn, word string) error {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(word)); err != nil {
		return err
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != word {
		t.Errorf("%q came back as %q", word, got)
	}
	return nil
}

// forwards reads "host-ip host-port guest-port protocol".
func forwards(texts ...string) []*netdv1.Forward {
	var list []*netdv1.Forward
	for _, text := range texts {
		f, protocol := &netdv1.Forward{}, ""
		if _, err := fmt.Sscan(text, &f.HostIp, &f.HostPort, &f.GuestPort, &protocol); err != nil {
			panic(err)
		}
		f.Udp = protocol == "udp"
		list = append(list, f)
	}
	return list
}

func hostAddr(f port.Forward) string { return netip.AddrPortFrom(f.HostIP, f.HostPort).String() }

// isICMP says whether a frame is an ICMP message.
func isICMP(frame []byte) bool {
	return len(frame) > 42 && frame[12] == 8 && frame[13] == 0 && frame[23] == 1
}

// awaitLink returns when netd sends to the guest, too: it answers.
func awaitLink(t testing.TB, g *netdtest.Guest) {
	t.Helper()
	g.Connected()
	g.Frame(ethernet(net.HardwareAddr("\x02bnetd"), g.MAC, 0x0806, arpRequest(g.MAC, g.Address.String(), netdtest.Gateway)))
	if g.Await(20*time.Second, func(b []byte) bool { return b[12] == 8 && b[13] == 6 }) == nil {
		t.Fatal("netd does not answer")
	}
}
