package port

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Direct is a VM whose packets the host's kernel carries, and of which ports are published. What comes for these is
// connected to the guest as any program of this user's would be.
type Direct struct {
	env     Env
	address netip.Addr
	name    atomic.Pointer[string]

	tcp   limiter
	udp   limiter
	flows flows

	ctx  context.Context
	stop context.CancelFunc
}

// NewDirect returns one without ports.
func NewDirect(env Env, name string, address netip.Addr) *Direct {
	d := &Direct{
		env: env, address: address,
		tcp: newLimiter(env.Limits.TCP / 2), // each takes two descriptors, where a Port's takes one
		udp: newLimiter(env.Limits.UDP), flows: flows{open: map[*flow]bool{}},
	}
	d.name.Store(&name)
	d.ctx, d.stop = context.WithCancel(context.Background())
	return d
}

// Address is the guest's.
func (d *Direct) Address() netip.Addr { return d.address }

// Name is the VM's.
func (d *Direct) Name() string { return *d.name.Load() }

// Rename gives it another one.
func (d *Direct) Rename(name string) { d.name.Store(&name) }

// Close ends what is open. The listeners that lead to it are closed before.
func (d *Direct) Close() {
	d.stop()
	d.flows.shut()
}

func (d *Direct) to(guestPort uint16) string {
	return netip.AddrPortFrom(d.address, guestPort).String()
}

// inbound implements guest.
func (d *Direct) inbound(l *Listener, host *net.TCPConn, guestPort uint16) {
	from, _ := host.RemoteAddr().(*net.TCPAddr)
	f := d.flows.add(d.ctx, from.AddrPort(), l)
	if f == nil {
		reset(host)
		return
	}
	defer d.flows.remove(f)
	defer context.AfterFunc(l.ctx, f.abort)()
	if !d.tcp.take() {
		reset(host)
		return
	}
	defer d.tcp.give()
	ctx, cancel := context.WithTimeout(f.ctx, d.env.Timeouts.Dial)
	conn, err := d.env.Dial(ctx, "tcp4", d.to(guestPort))
	cancel()
	guest, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		reset(host)
		return
	}
	join(f, host, guest)
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
	conn, err := d.env.Dial(f.ctx, "udp4", d.to(guestPort)) // connects a socket; no packet is sent
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
			if errors.Is(err, unix.ECONNREFUSED) { // the guest's word that nobody listens there, which may change
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
