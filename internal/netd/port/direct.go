package port

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Direct is a VM whose packets the host's kernel carries. Its ports are published: what comes for these is connected to the
// guest as any program of this user's would be. Its questions for names come here by a Door, and what it has for ports of
// the host's loopback.
type Direct struct {
	side
	pinned pinned
}

// NewDirect returns one without ports.
func NewDirect(env Env, c Config) *Direct {
	env.Limits.TCP /= 2 // each takes two descriptors, where a Port's takes one
	d := &Direct{}
	d.init(env, c, neighbours{
		at: func(addr netip.Addr) (string, bool) {
			if peer := env.DirectPeers(d, addr); peer != nil {
				return peer.Name(), true
			}
			return "", false
		},
		named: func(name string) (netip.Addr, bool) {
			if peer := env.DirectNamed(d, name); peer != nil {
				return peer.identity.Address, true
			}
			return netip.Addr{}, false
		},
	})
	d.resolver.Pin = d.pin
	return d
}

// SharesGroup says whether both policies name one group.
func (d *Direct) SharesGroup(other *Direct) bool { return d.shares(&other.side) }

// Change gives it another name, policy and host ports, and ends what goes through here that these no longer allow.
func (d *Direct) Change(c Config) {
	d.store(c)
	d.pinned.keep(c.Policy)
	d.recheck()
}

// Close ends what is open. The listeners that lead to it are closed before.
func (d *Direct) Close() {
	d.stop()
	d.flows.shut()
}

func (d *Direct) to(guestPort uint16) string {
	return netip.AddrPortFrom(d.identity.Address, guestPort).String()
}

// inbound implements guest.
func (d *Direct) inbound(l *Listener, host *net.TCPConn, guestPort uint16) {
	from, _ := host.RemoteAddr().(*net.TCPAddr)
	d.connection(l, host, d.flows.add(d.ctx, from.AddrPort(), l), func(f *flow) { d.connect(f, host, d.to(guestPort)) })
}

// connection does what is to be done with a connection that came through l, as one of the VM's.
func (d *Direct) connection(l *Listener, conn *net.TCPConn, f *flow, do func(*flow)) {
	if f == nil {
		reset(conn)
		return
	}
	defer d.flows.remove(f)
	defer context.AfterFunc(l.ctx, f.abort)()
	if !d.tcp.take() {
		if f.via == nil {
			d.deny("tcp", f.dst.String(), d.full("connections", d.env.Limits.TCP))
		}
		reset(conn)
		return
	}
	defer d.tcp.give()
	do(f)
}

// connect carries bytes between a connection and one that is made.
func (d *Direct) connect(f *flow, conn *net.TCPConn, to string) {
	ctx, cancel := context.WithTimeout(f.ctx, d.env.Timeouts.Dial)
	made, err := d.env.Dial(ctx, "tcp4", to)
	cancel()
	other, ok := made.(*net.TCPConn)
	if err != nil || !ok {
		reset(conn)
		return
	}
	join(f, conn, other)
}

func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	conn.Close()
}

// join carries bytes between two connections until both ends have finished or one breaks, which the other sees. The kernel
// moves them where it can.
func join(f *flow, a, b *net.TCPConn) {
	hangUp := func() {
		reset(a)
		reset(b)
	}
	if !f.whenAborted(hangUp) {
		hangUp()
	}
	carry := func(to, from *net.TCPConn) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil {
			f.abort()
		}
	}
	var other sync.WaitGroup
	other.Go(func() { carry(a, b) })
	carry(b, a)
	other.Wait()
	a.Close()
	b.Close()
}

// client implements guest.
func (d *Direct) client(l *Listener, from netip.AddrPort, guestPort uint16, gone func()) *client {
	f := d.flows.add(d.ctx, from, l)
	if f == nil || !d.udp.take() {
		if f != nil {
			d.flows.remove(f)
		}
		return nil
	}
	return d.datagrams(l, f, from, d.to(guestPort), gone)
}

// datagrams carries those of one client to where they are sent, and the answers. It gives back the place of the flow.
func (d *Direct) datagrams(l *Listener, f *flow, from netip.AddrPort, to string, gone func()) *client {
	conn, err := d.env.Dial(f.ctx, "udp4", to) // connects a socket; no packet is sent
	if err != nil {
		d.udp.give()
		d.flows.remove(f)
		return nil
	}
	if hangUp := func() { conn.Close() }; !f.whenAborted(hangUp) {
		hangUp()
	}
	c := &client{over: newIdle(d.env.UDPFirst, d.env.UDPStream, f.abort)}
	c.send = func(b []byte) { _, _ = conn.Write(b) }
	l.done.Go(func() {
		defer context.AfterFunc(l.ctx, f.abort)()
		answer := l.answer(from)
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, unix.ECONNREFUSED) { // a word that nobody listens there, which may change
				continue
			}
			if err != nil {
				break
			}
			c.over.touch()
			if answer(buf[:n]) != nil {
				break
			}
		}
		gone()
		c.over.stop()
		conn.Close()
		d.udp.give()
		d.flows.remove(f)
	})
	return c
}

var (
	_ guest = (*Direct)(nil)
	_ guest = (*Port)(nil)
)
