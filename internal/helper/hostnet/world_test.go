package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/testenv"
)

func TestMain(m *testing.M) {
	if instance := os.Getenv(instanceVariable); instance != "" {
		os.Exit(passEveryPoint(New(Options{Instance: model.InstanceID(instance)}), strings.Fields(os.Getenv(vmVariable))))
	}
	os.Exit(testenv.OwnNetwork(m))
}

// Environment of the test program run again as what is killed.
const (
	instanceVariable = "BANGER_TEST_INSTANCE"
	vmVariable       = "BANGER_TEST_VM" // two of them
)

// someDoors are of a VM that may ask for names.
var someDoors = []model.Redirect{{Port: portDNS, To: 5353}, {UDP: true, Port: portDNS, To: 5353}}

// passEveryPoint does all that there is to do, and ends with what is no success in any case.
func passEveryPoint(h *Host, ids []string) int {
	ctx, first, second := context.Background(), model.VMID(ids[0]), model.VMID(ids[1])
	policy, err := model.ParsePolicy("11.0.0.0/24,group:a,web.example")
	if err != nil {
		return 2
	}
	pin := Pin{Entries: []string{"web.example"}, Addresses: []netip.Addr{netip.MustParseAddr(internet)}, Life: model.MinPin}
	attach := func(id model.VMID, slot int, wire bool) error {
		_, err := h.Attach(ctx, id, slot, Rules{Policy: policy, Redirects: someDoors, Wire: wire})
		return err
	}
	for i, do := range []func() error{
		func() error { return attach(first, 1, true) },
		func() error { return h.Prepare(ctx) },
		func() error { return attach(second, 2, false) },
		func() error { return h.PinAddresses(ctx, second, 2, pin) },
		func() error { return h.Detach(ctx, second) },
		func() error { return h.Recycle(ctx) },
		func() error { return h.Detach(ctx, first) },
	} {
		if err := do(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 3 + i
		}
	}
	return 20
}

// space is a network namespace, in which functions are run.
type space struct{ calls chan func() }

func newSpace(t *testing.T) *space {
	t.Helper()
	s := openSpace(t)
	t.Cleanup(func() { close(s.calls) })
	return s
}

// openSpace returns one that is there until its calls are closed.
func openSpace(t *testing.T) *space {
	t.Helper()
	s := &space{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range s.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	s.ip(t, "link set lo up")
	return s
}

// do runs f in the namespace. Sockets that f opens stay there.
func (s *space) do(f func()) {
	done := make(chan struct{})
	s.calls <- func() { defer close(done); f() }
	<-done
}

// ip runs commands of ip(8) in the namespace.
func (s *space) ip(t *testing.T, commands ...string) {
	t.Helper()
	s.do(func() {
		for _, c := range commands {
			if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", c, err, out)
			}
		}
	})
}

// handle is a descriptor of the namespace.
func (s *space) handle(t *testing.T) *os.File {
	t.Helper()
	var f *os.File
	var err error
	s.do(func() { f, err = os.Open("/proc/thread-self/ns/net") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// host is a namespace that is a host of its own, with what is beyond it.
type host struct {
	*space
	far *space
}

const (
	internet, internet2, private, provider, metadata = "11.0.0.2", "11.0.0.3", "10.9.0.2", "100.64.0.2", "169.254.169.254"
	hostPublic, hostPrivate                          = "11.0.0.1", "10.9.0.1"
	port, portDNS                                    = 7000, 53
)

func newHost(t *testing.T) host {
	t.Helper()
	h := host{newSpace(t), newSpace(t)}
	var problem string
	h.do(func() { problem = New(Options{Instance: model.NewInstanceID()}).Problem() })
	if problem != "" {
		t.Skipf("not run: %s", problem)
	}
	far := h.far.handle(t)
	h.do(func() {
		if err := setSysctl(acceptRedirects, "0"); err != nil { // as a careful host has it
			t.Error(err)
		}
		links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			t.Error(err)
			return
		}
		defer links.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "v0"
		if err := links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "v1", PeerNamespace: netlink.NsFd(far.Fd())}); err != nil {
			t.Error(err)
		}
	})
	h.ip(t, "link set v0 up", "addr add "+hostPublic+"/24 dev v0", "addr add "+hostPrivate+"/24 dev v0", "route add default via "+internet)
	h.far.ip(t, "link set v1 up")
	for _, a := range []string{internet + "/24", internet2 + "/24", private + "/24", provider + "/32", metadata + "/32"} {
		h.far.ip(t, "addr add "+a+" dev v1")
	}
	for _, a := range []string{internet, internet2, private, provider, metadata} {
		h.far.serve(t, a, port)
		h.far.serve(t, a, portDNS)
	}
	for _, a := range []string{hostPublic, hostPrivate, "127.0.0.1"} {
		h.serve(t, a, port)
	}
	return h
}

// serve answers to a connection, and to a datagram, with the address of who asked.
func (s *space) serve(t *testing.T, address string, port int) {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port))
	s.do(func() {
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		// A program that another test starts has for a moment what was just closed here.
		for limit := time.Now().Add(5 * time.Second); errors.Is(err, unix.EADDRINUSE) && time.Now().Before(limit); {
			l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		}
		if err != nil {
			t.Error(err)
			return
		}
		u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).IP)
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				_, _ = u.WriteToUDPAddrPort([]byte(from.Addr().Unmap().String()+"\n"), from)
			}
		}()
	})
}

const patience = 2 * time.Second

// ask returns whose address a server saw, or an error: "refused" where that was said.
func (s *space) ask(network, address string, port int) (said string, err error) {
	s.do(func() {
		var c net.Conn
		if c, err = net.DialTimeout(network, fmt.Sprintf("%s:%d", address, port), patience); err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if strings.HasPrefix(network, "udp") {
			_ = c.SetDeadline(time.Now().Add(patience / 4)) // that it is refused is not said each time
			fmt.Fprintln(c, "?")
		}
		buf := make([]byte, 100)
		var n int
		n, err = c.Read(buf)
		said = strings.TrimSpace(string(buf[:n]))
	})
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		err = errRefused
	}
	return said, err
}

var errRefused = errors.New("refused")

// guest is a VM: a namespace whose one device is the other end of a tap.
type guest struct {
	*space
	id   model.VMID
	port Port
	tap  *os.File // of the host

	close func() // what a VMM's end does
}

func (h host) attach(t *testing.T, n *Host, slot int, policy string, doors ...model.Redirect) guest {
	t.Helper()
	return h.attachAs(t, n, model.NewVMID(), slot, policy, doors...)
}

func (h host) attachAs(t *testing.T, n *Host, id model.VMID, slot int, policy string, doors ...model.Redirect) guest {
	t.Helper()
	g := guest{id: id}
	g.port = h.set(t, n, g.id, slot, policy, doors...)
	g.space = newSpace(t)
	var theirs *os.File
	var err error
	h.do(func() { g.tap, err = n.Open(t.Context(), g.id) })
	if err != nil {
		t.Fatal(err)
	}
	g.do(func() { theirs, err = openTap("eth0") })
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]*os.File{{g.tap, theirs}, {theirs, g.tap}} {
		go func() {
			buf := make([]byte, 70<<10)
			for {
				n, err := pair[0].Read(buf)
				if err != nil {
					return
				}
				_, _ = pair[1].Write(buf[:n]) // while an end is down
			}
		}()
	}
	g.close = func() { g.tap.Close(); theirs.Close() }
	t.Cleanup(g.close)
	g.ip(t, fmt.Sprintf("link set eth0 address %s mtu %d", g.port.MAC, g.port.MTU), "link set eth0 up",
		fmt.Sprintf("addr add %s/32 dev eth0", g.port.Address), fmt.Sprintf("route add default via %s dev eth0 onlink", g.port.Gateway))
	return g
}

func (h host) set(t *testing.T, n *Host, id model.VMID, slot int, policy string, doors ...model.Redirect) (p Port) {
	t.Helper()
	parsed, err := model.ParsePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	want := Rules{Policy: parsed, Redirects: doors}
	h.do(func() { p, err = n.Attach(t.Context(), id, slot, want) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// installation is one of a test, of which nothing may be left.
func (h host) installation(t *testing.T) *Host {
	t.Helper()
	n := New(Options{Instance: model.NewInstanceID()})
	t.Cleanup(func() {
		h.do(func() {
			if err := n.Sweep(context.Background(), nil); err != nil {
				t.Error(err)
			}
			if found, err := n.List(context.Background()); err != nil || len(found.Ports)+len(found.Tables)+len(found.Spare)+len(found.Left) != 0 || found.Bridge != "" {
				t.Errorf("left: %+v, %v", found, err)
			}
		})
	})
	return n
}
