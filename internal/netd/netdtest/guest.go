// Package netdtest is a guest for tests: a TCP/IP stack behind a VMM's stream socket, and raw frames beside it.
package netdtest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"banger/internal/unixsocket"
)

// Gateway is the gateway of every guest.
const Gateway = "198.18.0.1"

// Guest is a VM as the network sees one.
type Guest struct {
	Socket  string
	MAC     net.HardwareAddr
	Address netip.Addr
	MTU     uint32

	t        testing.TB
	stack    *stack.Stack
	channel  *channel.Endpoint
	listener *net.UnixListener
	frames   chan []byte // what arrived, for those who look

	mu      sync.Mutex
	conn    net.Conn
	changed chan struct{} // closed, and replaced, when conn is another one
	wg      sync.WaitGroup
	stop    context.CancelFunc
}

// New returns a guest whose VMM listens. n makes its addresses.
func New(t testing.TB, n byte, mtu uint32) *Guest {
	t.Helper()
	g := &Guest{
		Socket: filepath.Join(t.TempDir(), "net.sock"), MAC: net.HardwareAddr{0x02, 0xaa, 0, 0, 0, n},
		Address: netip.AddrFrom4([4]byte{198, 18, 0, n}), MTU: mtu, t: t, frames: make(chan []byte, 1024), changed: make(chan struct{}),
	}
	g.build()
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.Listen()
	g.wg.Go(func() { g.send(ctx) })
	t.Cleanup(g.Close)
	return g
}

func (g *Guest) build() {
	g.channel = channel.New(8192, g.MTU, tcpip.LinkAddress(g.MAC))
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4},
	})
	window := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 4 << 20}
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &window)
	if err := g.stack.CreateNIC(1, ethernet.New(g.channel)); err != nil {
		g.t.Fatal(err)
	}
	g.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(g.Address.As4()), PrefixLen: 15},
	}, stack.AddressProperties{})
	g.stack.SetRouteTable([]tcpip.Route{{
		Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(netip.MustParseAddr(Gateway).As4()), NIC: 1,
	}})
}

// Listen makes the VMM listen, anew if it has before.
func (g *Guest) Listen() {
	l, err := unixsocket.Listen(g.Socket)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	g.wg.Go(func() { g.accept(l) })
}

func (g *Guest) accept(l *net.UnixListener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		live := g.listener == l
		if live {
			g.conn = conn
			close(g.changed)
			g.changed = make(chan struct{})
		}
		g.mu.Unlock()
		if live {
			g.receive(conn)
		}
		conn.Close()
	}
}

// Hang ends the VMM: its connection and its socket.
func (g *Guest) Hang() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		g.listener.Close()
		g.listener = nil
	}
	if g.conn != nil {
		g.conn.Close()
		g.conn = nil
	}
}

// Close ends the guest.
func (g *Guest) Close() {
	g.Hang()
	g.stop()
	g.wg.Wait()
	g.stack.Close()
	g.stack.RemoveNIC(1)
}

func (g *Guest) send(ctx context.Context) {
	for {
		packet := g.channel.ReadContext(ctx)
		if packet == nil {
			return
		}
		view := packet.ToView()
		g.Frame(view.AsSlice())
		view.Release()
		packet.DecRef()
	}
}

func (g *Guest) receive(conn net.Conn) {
	r := bufio.NewReaderSize(conn, 256<<10)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		select {
		case g.frames <- frame:
		default:
			select {
			case <-g.frames:
			default:
			}
		}
		packet := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
		g.channel.InjectInbound(0, packet)
		packet.DecRef()
	}
}

// Connected waits until netd has connected.
func (g *Guest) Connected() net.Conn { return g.Reconnected(nil) }

// Reconnected waits until netd has connected otherwise than by old.
func (g *Guest) Reconnected(old net.Conn) net.Conn {
	g.t.Helper()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		g.mu.Lock()
		conn, changed := g.conn, g.changed
		g.mu.Unlock()
		if conn != nil && conn != old {
			return conn
		}
		select {
		case <-changed:
		case <-late.C:
			g.t.Fatal("netd does not connect")
		}
	}
}

// Bytes sends bytes as they are.
func (g *Guest) Bytes(b []byte) error {
	_, err := g.Connected().Write(b)
	return err
}

// Frame sends a frame with its length.
func (g *Guest) Frame(frame []byte) {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
	g.mu.Lock()
	conn := g.conn
	g.mu.Unlock()
	if conn != nil {
		_, _ = conn.Write(append(b, frame...))
	}
}

// Forget drops the frames that have arrived so far.
func (g *Guest) Forget() {
	for {
		select {
		case <-g.frames:
		default:
			return
		}
	}
}

// Await returns the first frame from now on that is wanted, or nil when none comes in time.
func (g *Guest) Await(within time.Duration, wanted func(frame []byte) bool) []byte {
	over := time.NewTimer(within)
	defer over.Stop()
	for {
		select {
		case frame := <-g.frames:
			if wanted(frame) {
				return frame
			}
		case <-over.C:
			return nil
		}
	}
}

func full(addr netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(addr.Addr().As4()), Port: addr.Port()}
}

// Dial connects by TCP.
func (g *Guest) Dial(ctx context.Context, to string) (*gonet.TCPConn, error) {
	g.Connected()
	return gonet.DialContextTCP(ctx, g.stack, full(netip.MustParseAddrPort(to)), ipv4.ProtocolNumber)
}

// DialUDP connects a UDP socket.
func (g *Guest) DialUDP(to string) (*gonet.UDPConn, error) {
	g.Connected()
	remote := full(netip.MustParseAddrPort(to))
	return gonet.DialUDP(g.stack, nil, &remote, ipv4.ProtocolNumber)
}

// ListenTCP listens on a port of the guest.
func (g *Guest) ListenTCP(port uint16) *gonet.TCPListener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(g.Address, port)), ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	return l
}

// ListenUDP takes a UDP port of the guest.
func (g *Guest) ListenUDP(port uint16) *gonet.UDPConn {
	g.t.Helper()
	local := full(netip.AddrPortFrom(g.Address, port))
	c, err := gonet.DialUDP(g.stack, &local, nil, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

// Refused says whether a connection was refused by a RST, rather than lost.
func Refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Err != nil && op.Err.Error() == (&tcpip.ErrConnectionRefused{}).String()
}
