package port

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Door is where guests come whose packets the host's kernel carries: a number, of both protocols, at the address of their
// gateway. The kernel's rules lead a port there that guests use at the gateway, of those that may. Which guest it is, is
// known by the source address, which these rules pin; whoever has another one is told nothing.
type Door struct {
	port  uint16 // that guests use: that of DNS, or one of the host's loopback
	at    uint16
	find  func(netip.Addr) *Direct
	tcp   *Listener
	udp   *Listener // that of DNS has none
	asked *net.UDPConn
	tasks sync.WaitGroup
}

// OpenDoor opens one for a port that guests use: at the number that is given, or at any free one, also when that is 0. find
// returns the guest of an address, or nil.
func OpenDoor(gateway netip.Addr, port, number uint16, find func(netip.Addr) *Direct) (*Door, error) {
	tcp, udp, err := bindDoor(gateway, number)
	if number != 0 && errors.Is(err, unix.EADDRINUSE) {
		tcp, udp, err = bindDoor(gateway, 0)
	}
	if err != nil {
		return nil, model.HostErrorf(err, "cannot listen at %s for what VMs have for port %d of it", gateway, port)
	}
	d := &Door{port: port, find: find, at: uint16(tcp.Addr().(*net.TCPAddr).Port)}
	wanted := Forward{HostIP: gateway, HostPort: d.at, GuestPort: port}
	d.tcp = newListener(wanted, d.at)
	d.tcp.tcp = tcp
	d.tcp.lead(d, port)
	if port == DNS {
		d.asked = udp
		d.tasks.Go(d.answer)
		return d, nil
	}
	wanted.UDP = true
	d.udp = newListener(wanted, d.at)
	d.udp.udp = udp
	d.udp.lead(d, port)
	return d, nil
}

// At is its number.
func (d *Door) At() uint16 { return d.at }

// Close ends it, and what came through it.
func (d *Door) Close() {
	d.tcp.Close()
	if d.udp != nil {
		d.udp.Close()
	} else {
		d.asked.Close()
	}
	d.tasks.Wait()
}

// bindTries is how many numbers that are free for one protocol are tried for the other.
const bindTries = 32

// bindDoor takes a number of both protocols, any free one for 0. The address need not be there yet, nor stay.
func bindDoor(gateway netip.Addr, number uint16) (*net.TCPListener, *net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(cerr, err)
	}}
	for try := 1; ; try++ {
		l, err := config.Listen(context.Background(), "tcp4", net.JoinHostPort(gateway.String(), strconv.Itoa(int(number))))
		if err != nil {
			return nil, nil, err
		}
		c, err := config.ListenPacket(context.Background(), "udp4", l.Addr().String())
		tcp, isTCP := l.(*net.TCPListener)
		udp, isUDP := c.(*net.UDPConn)
		if err == nil && isTCP && isUDP {
			return tcp, udp, nil
		}
		l.Close()
		if number != 0 || try == bindTries || !errors.Is(err, unix.EADDRINUSE) {
			return nil, nil, err
		}
	}
}

// inbound implements guest, for connections that guests make.
func (d *Door) inbound(l *Listener, conn *net.TCPConn, port uint16) {
	from, _ := conn.RemoteAddr().(*net.TCPAddr)
	guest := d.find(from.AddrPort().Addr().Unmap())
	if guest == nil {
		reset(conn)
		return
	}
	dst := netip.AddrPortFrom(guest.identity.Gateway, port)
	guest.connection(l, conn, guest.flows.add(guest.ctx, dst, nil), func(f *flow) {
		verdict := guest.decide(dst, "")
		switch {
		case !verdict.Allowed:
			guest.deny("tcp", dst.String(), verdict.Rule)
			reset(conn)
		case port == DNS:
			guest.answerTo(f, conn)
		default:
			guest.connect(f, conn, guest.target(dst))
		}
	})
}

// client implements guest, for datagrams that guests send.
func (d *Door) client(l *Listener, from netip.AddrPort, port uint16, gone func()) *client {
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	guest := d.find(from.Addr())
	if guest == nil {
		return nil
	}
	dst := netip.AddrPortFrom(guest.identity.Gateway, port)
	f := guest.flows.add(guest.ctx, dst, nil)
	if f == nil {
		return nil
	}
	rule := guest.full("UDP flows", guest.env.Limits.UDP)
	verdict := guest.decide(dst, "")
	if !verdict.Allowed {
		rule = verdict.Rule
	}
	if !verdict.Allowed || !guest.udp.take() {
		guest.flows.remove(f)
		guest.deny("udp", dst.String(), rule)
		return nil
	}
	return guest.datagrams(l, f, from, guest.target(dst), gone)
}

// answer answers questions for names that come as datagrams, until the socket is closed.
func (d *Door) answer() {
	buf := make([]byte, maxQuery)
	for {
		n, from, err := d.asked.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		guest := d.find(from.Addr().Unmap())
		if guest == nil || !guest.decideGateway(DNS).Allowed {
			continue
		}
		guest.contain(func() { guest.answerDatagram(question{d.asked, net.UDPAddrFromAddrPort(from), buf[:n]}, d.tasks.Go) })
	}
}

var _ guest = (*Door)(nil)
