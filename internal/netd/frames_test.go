package netd

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"banger/internal/model"
	"banger/internal/netd/netdtest"
)

// probe is a frame and what is said of it.
type probe struct {
	name  string
	frame []byte
}

func ethernet(dst, src net.HardwareAddr, kind uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(bytes.Clone(dst), src...), kind), payload...)
}

func ip4(src, dst string, protocol uint8, payload []byte) []byte {
	b := make([]byte, 20+len(payload))
	h := header.IPv4(b)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: protocol,
		SrcAddr: tcpip.AddrFrom4(netip.MustParseAddr(src).As4()), DstAddr: tcpip.AddrFrom4(netip.MustParseAddr(dst).As4()),
	})
	h.SetChecksum(^h.CalculateChecksum())
	copy(b[20:], payload)
	return b
}

func udpTo(port uint16) []byte {
	b := make([]byte, 12)
	header.UDP(b).Encode(&header.UDPFields{SrcPort: 4000, DstPort: port, Length: 12})
	return b // without a checksum, which is allowed
}

func tcpSYN(port uint16) []byte {
	b := make([]byte, 20)
	header.TCP(b).Encode(&header.TCPFields{SrcPort: 4000, DstPort: port, DataOffset: 20, Flags: header.TCPFlagSyn, WindowSize: 1000})
	return b
}

func echoRequest() []byte {
	b := make([]byte, 16)
	h := header.ICMPv4(b)
	h.SetType(header.ICMPv4Echo)
	h.SetIdent(77)
	h.SetChecksum(header.ICMPv4Checksum(h, 0))
	return b
}

func arpRequest(senderMAC net.HardwareAddr, sender, target string) []byte {
	b := []byte("\x00\x01\x08\x00\x06\x04\x00\x01")
	b = append(append(b, senderMAC...), netip.MustParseAddr(sender).AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), netip.MustParseAddr(target).AsSlice()...)
}

// TestUnexpectedFrames sends what must have no effect at all: no answer, no connection, no entry.
func TestUnexpectedFrames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	w.internet.UDP(t, "93.184.216.34:53", bytes.Clone)
	other := w.guest(3, "other", "open")
	g := w.guest(2, "box", "open")
	us, broadcast := net.HardwareAddr("\x02bnetd"), net.HardwareAddr{255, 255, 255, 255, 255, 255}
	mac, self := g.MAC, g.Address.String()
	stranger := net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 99}
	syn := ip4(self, "93.184.216.34", 6, tcpSYN(80))
	patched := func(b []byte, at int, with ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[at:], with)
		return b
	}
	probes := []probe{
		{"nothing", nil},
		{"one byte", []byte{1}},
		{"eleven bytes", make([]byte, 11)},
		{"a header alone", ethernet(us, mac, 0x0800, nil)},
		{"a spoofed MAC", ethernet(us, stranger, 0x0800, syn)},
		{"another VM's MAC", ethernet(us, other.MAC, 0x0800, syn)},
		{"our own MAC", ethernet(us, us, 0x0800, syn)},
		{"a spoofed address", ethernet(us, mac, 0x0800, ip4("198.18.0.77", "93.184.216.34", 6, tcpSYN(80)))},
		{"another VM's address", ethernet(us, mac, 0x0800, ip4("198.18.0.3", "93.184.216.34", 6, tcpSYN(80)))},
		{"the gateway's address", ethernet(us, mac, 0x0800, ip4("198.18.0.1", "93.184.216.34", 6, tcpSYN(80)))},
		{"a loopback source", ethernet(us, mac, 0x0800, ip4("127.0.0.1", "93.184.216.34", 6, tcpSYN(80)))},
		{"no source", ethernet(us, mac, 0x0800, ip4("0.0.0.0", "255.255.255.255", 17, udpTo(67)))},
		{"a spoofed ping", ethernet(us, mac, 0x0800, ip4("198.18.0.77", "198.18.0.1", 1, echoRequest()))},
		{"to loopback", ethernet(us, mac, 0x0800, ip4(self, "127.0.0.1", 6, tcpSYN(80)))},
		{"to nothing", ethernet(us, mac, 0x0800, ip4(self, "0.0.0.0", 6, tcpSYN(80)))},
		{"to multicast", ethernet(us, mac, 0x0800, ip4(self, "224.0.0.251", 17, udpTo(5353)))},
		{"to broadcast", ethernet(broadcast, mac, 0x0800, ip4(self, "255.255.255.255", 17, udpTo(67)))},
		{"to itself", ethernet(us, mac, 0x0800, ip4(self, self, 6, tcpSYN(80)))},
		{"past the gateway", ethernet(other.MAC, mac, 0x0800, syn)},
		{"by ethernet's broadcast", ethernet(broadcast, mac, 0x0800, syn)},
		{"IPv6", ethernet(us, mac, 0x86dd, append([]byte{0x60}, make([]byte, 60)...))},
		{"IPv6 neighbors", ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, 0x86dd, append([]byte{0x60}, make([]byte, 60)...))},
		{"IPv6 said to be IPv4", ethernet(us, mac, 0x0800, append([]byte{0x60}, make([]byte, 60)...))},
		{"a VLAN tag", ethernet(us, mac, 0x8100, append([]byte{0, 1, 8, 0}, syn...))},
		{"a double tag", ethernet(us, mac, 0x88a8, append([]byte{0, 1, 0x81, 0, 0, 1, 8, 0}, syn...))},
		{"an unknown protocol", ethernet(us, mac, 0x88cc, make([]byte, 60))},
		{"802.3 with a length", ethernet(us, mac, 46, make([]byte, 46))},
		{"IPv4 options", ethernet(us, mac, 0x0800, patched(append(bytes.Clone(syn), 0, 0, 0, 0), 0, 0x46))},
		{"a header that is too short", ethernet(us, mac, 0x0800, patched(syn, 0, 0x44))},
		{"more length than bytes", ethernet(us, mac, 0x0800, patched(syn, 2, 0xff, 0xff))},
		{"less length than a header", ethernet(us, mac, 0x0800, patched(syn, 2, 0, 19))},
		{"a broken header checksum", ethernet(us, mac, 0x0800, patched(syn, 10, 1, 2))},
		{"half a TCP header", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 6, tcpSYN(80)[:10]))},
		{"half a UDP header", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 17, udpTo(53)[:5]))},
		{"a UDP length that lies", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 17, patched(udpTo(53), 4, 0xff, 0xff)))},
		{"half a ping", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 1, echoRequest()[:4]))},
		{"a ping's answer", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 1, patched(echoRequest(), 0, 0)))},
		{"an ICMP redirect", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 1, patched(echoRequest(), 0, 5)))},
		{"another IP protocol", ethernet(us, mac, 0x0800, ip4(self, "93.184.216.34", 47, make([]byte, 40)))},
		{"ARP of a spoofed MAC", ethernet(broadcast, stranger, 0x0806, arpRequest(stranger, self, "198.18.0.1"))},
		{"ARP with another sender's MAC", ethernet(broadcast, mac, 0x0806, arpRequest(stranger, self, "198.18.0.1"))},
		{"ARP for another's address", ethernet(broadcast, mac, 0x0806, arpRequest(mac, "198.18.0.3", "198.18.0.1"))},
		{"ARP as the gateway", ethernet(broadcast, mac, 0x0806, arpRequest(mac, "198.18.0.1", self))},
		{"an ARP probe", ethernet(broadcast, mac, 0x0806, arpRequest(mac, "0.0.0.0", self))},
		{"gratuitous ARP", ethernet(broadcast, mac, 0x0806, arpRequest(mac, self, self))},
		{"an ARP answer", ethernet(us, mac, 0x0806, patched(arpRequest(mac, self, "198.18.0.1"), 7, 2))},
		{"half an ARP request", ethernet(broadcast, mac, 0x0806, arpRequest(mac, self, "198.18.0.1")[:20])},
		{"ARP of another hardware", ethernet(broadcast, mac, 0x0806, patched(arpRequest(mac, self, "198.18.0.1"), 1, 6))},
		{"a frame longer than the MTU", ethernet(us, mac, 0x0800, append(bytes.Clone(syn), make([]byte, 65530)...))},
	}
	g.Forget()
	other.Forget()
	for _, p := range probes {
		g.Frame(p.frame)
	}
	// What comes after them is answered, and is the first thing that is.
	g.Frame(ethernet(broadcast, mac, 0x0806, arpRequest(mac, self, "198.18.0.1")))
	first := g.Await(20*time.Second, func([]byte) bool { return true })
	if len(first) != 42 || first[21] != 2 || !bytes.Equal(first[22:28], us) {
		t.Errorf("the first answer is %x", first)
	}
	conn, err := g.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := says(t, conn, "still here"); err != nil {
		t.Error(err)
	}
	if got := other.Await(10*time.Millisecond, func([]byte) bool { return true }); got != nil {
		t.Errorf("another VM got %x", got)
	}
	list, err := w.Denied("id-box", nil)
	if err != nil || len(list) != 1 || list[0].Protocol != "ip" {
		t.Errorf("%+v, %v; want the other IP protocol alone", list, err)
	}
	t.Logf("%d frames had no effect", len(probes))
}

// TestBrokenStream sends bytes that are no frames: that VM's connection ends and is made anew, and nobody else notices.
func TestBrokenStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	other := w.guest(3, "other", "public")
	witness, err := other.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	g := w.guest(2, "box", "public")
	for name, stream := range map[string][]byte{
		"a length of 4 GiB":     {255, 255, 255, 255},
		"a length of 1 MiB":     {0, 16, 0, 0, 1, 2, 3},
		"text":                  []byte("GET / HTTP/1.1\r\n\r\n"),
		"a length just too big": binary.BigEndian.AppendUint32(nil, 64<<10+65),
	} {
		before := g.Connected()
		g.Bytes(stream)
		g.Reconnected(before)
		conn, err := g.Dial(short(t), web)
		if err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if err := says(t, conn, "again"); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
		conn.Close()
	}
	if err := says(t, witness, "unmoved"); err != nil {
		t.Errorf("another VM noticed: %v", err)
	}
}

// TestNeverEndingFrame begins a frame and leaves it: the VM has itself to blame, and its port can still be changed and
// taken away.
func TestNeverEndingFrame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.TCP(t, web, echo)
	g, other := w.guest(2, "box", "public"), w.guest(3, "other", "public")
	g.Bytes([]byte{0, 0, 5, 0, 1, 2, 3})
	conn, err := other.Dial(short(t), web)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := says(t, conn, "fine"); err != nil {
		t.Error(err)
	}
	w.set(description(g, "box", "none"))
	w.Clear("id-box")
}

func TestARPAndPing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.guest(2, "box", "public")
	us := net.HardwareAddr("\x02bnetd")
	g.Frame(ethernet(us, g.MAC, 0x0800, ip4(g.Address.String(), netdtest.Gateway, 1, echoRequest())))
	if f := g.Await(20*time.Second, isICMP); f == nil || f[34] != 0 || binary.BigEndian.Uint16(f[38:]) != 77 {
		t.Errorf("the gateway answered a ping with %x", f)
	}
	g.Frame(ethernet(us, g.MAC, 0x0800, ip4(g.Address.String(), "10.0.0.1", 1, echoRequest())))
	if f := g.Await(20*time.Second, isICMP); f == nil || f[34] != 3 || f[35] != 13 {
		t.Errorf("a ping that is not allowed was answered with %x", f)
	}
	if rule, n := w.denied("box", "icmp", "10.0.0.1"); n != 1 || !strings.Contains(rule, "RFC 1918") {
		t.Errorf("denied %d times by %q", n, rule)
	}
}

func TestFragments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.internet.UDP(t, "93.184.216.34:7", bytes.Clone)
	g := netdtest.New(t, 2, 1500)
	w.set(description(g, "box", "public"))
	conn, err := g.DialUDP("93.184.216.34:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	long := strings.Repeat("fragment ", 3000)
	if got, err := ask(t, conn, long); err != nil || got != long {
		t.Errorf("%d bytes came back as %d, %v", len(long), len(got), err)
	}
	// First parts of datagrams that never come: what is kept of them is capped.
	us := net.HardwareAddr("\x02bnetd")
	part := make([]byte, 1400)
	for i := range 20000 {
		packet := ip4(g.Address.String(), "93.184.216.34", 17, part)
		h := header.IPv4(packet)
		h.SetID(uint16(i))
		h.SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0)
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
		g.Frame(ethernet(us, g.MAC, 0x0800, packet))
	}
	if got, err := ask(t, conn, "after all"); err != nil || got != "after all" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestPingIsCarried pings an address of the host's own, which open allows, by a ping socket where we may have one.
func TestPingIsCarried(t *testing.T) {
	t.Parallel()
	to := ""
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if addr := netip.MustParsePrefix(a.String()).Addr(); addr.Is4() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() && !model.GuestRange().Contains(addr) {
			to = addr.String()
		}
	}
	if to == "" {
		t.Skip("the host has no address but loopback's")
	}
	w := newWorld(t)
	g := w.guest(2, "box", "open")
	us := net.HardwareAddr("\x02bnetd")
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if may := err == nil; may {
		unix.Close(fd)
	} else {
		t.Logf("no ping socket for us (%v): it must be answered as prohibited", err)
	}
	for range 2 {
		g.Frame(ethernet(us, g.MAC, 0x0800, ip4(g.Address.String(), to, 1, echoRequest())))
		f := g.Await(20*time.Second, isICMP)
		switch {
		case f == nil:
			t.Fatal("no answer")
		case err != nil && (f[34] != 3 || f[35] != 10):
			t.Errorf("want host prohibited, got %x", f)
		case err == nil && (f[34] != 0 || binary.BigEndian.Uint16(f[38:]) != 77 || netip.AddrFrom4([4]byte(f[26:30])).String() != to):
			t.Errorf("want a reply of %s with our identifier, got %x", to, f)
		}
	}
}
