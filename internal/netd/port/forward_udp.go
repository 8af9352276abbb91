package port

import (
	"context"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// clients are those who talk to a guest through one UDP forward.
type clients struct {
	mu   sync.Mutex
	open map[clientKey]*client
}

type clientKey struct {
	from netip.AddrPort
	to   *target
}

// client is one of them.
type client struct {
	send func([]byte) // to the guest; what that does not take is lost
	over *idle
}

func (l *Listener) serveUDP() {
	known := clients{open: map[clientKey]*client{}}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed: a UDP socket that is not connected learns of no other failure
		}
		if c := known.find(l, from); c != nil {
			c.over.touch()
			c.send(buf[:n])
		}
	}
}

// find returns the client at an address, a new one by need.
func (k *clients) find(l *Listener, from netip.AddrPort) *client {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := l.target.Load()
	key := clientKey{from, t}
	if c := k.open[key]; c != nil {
		return c
	}
	c := t.guest.client(l, from, t.guestPort, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.open, key)
	})
	if c != nil {
		k.open[key] = c
	}
	return c
}

// client implements guest.
func (p *Port) client(l *Listener, from netip.AddrPort, guestPort uint16, gone func()) *client {
	f := p.flows.add(p.ctx, from, l)
	if f == nil || !p.link.Connected() || !p.udp.take() {
		if f != nil {
			p.flows.remove(f)
		}
		return nil
	}
	queue := new(waiter.Queue)
	ep, err := p.guestEndpoint(udp.ProtocolNumber, queue)
	if err == nil {
		if failed := ep.Connect(full(p.guest(guestPort))); failed != nil {
			ep.Close()
			err = errBroken
		}
	}
	if err != nil {
		p.udp.give()
		p.flows.remove(f)
		return nil
	}
	d := datagrams{ep: ep, queue: queue, buffers: &p.buffers}
	c := &client{send: d.send, over: newIdle(p.env.UDPFirst, p.env.UDPStream, f.abort)}
	l.done.Go(func() {
		defer context.AfterFunc(l.ctx, f.abort)()
		_ = d.fromGuest(f.ctx, c.over, l.answer(from))
		gone()
		c.over.stop()
		ep.Close()
		p.udp.give()
		p.flows.remove(f)
	})
	return c
}

// answer sends datagrams of a guest to one of its clients.
func (l *Listener) answer(to netip.AddrPort) func([]byte) error {
	return func(b []byte) error {
		_, err := l.udp.WriteToUDPAddrPort(b, to)
		return err
	}
}
