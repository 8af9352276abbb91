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

type client struct {
	datagrams
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

// find returns the client at an address, a new one by need; nil when the guest has too many or is not there.
func (k *clients) find(l *Listener, from netip.AddrPort) *client {
	k.mu.Lock()
	defer k.mu.Unlock()
	t := l.target.Load()
	key := clientKey{from, t}
	if c := k.open[key]; c != nil {
		return c
	}
	p := t.port
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
		if failed := ep.Connect(full(p.guest(t.guestPort))); failed != nil {
			ep.Close()
			err = errBroken
		}
	}
	if err != nil {
		p.udp.give()
		p.flows.remove(f)
		return nil
	}
	c := &client{datagrams: datagrams{ep: ep, queue: queue, buffers: &p.buffers}}
	c.over = newIdle(p.env.UDPFirst, p.env.UDPStream, f.abort)
	k.open[key] = c
	l.done.Go(func() {
		defer context.AfterFunc(l.ctx, f.abort)()
		_ = c.fromGuest(f.ctx, c.over, func(b []byte) error {
			_, err := l.udp.WriteToUDPAddrPort(b, from)
			return err
		})
		k.mu.Lock()
		delete(k.open, key)
		k.mu.Unlock()
		c.over.stop()
		c.ep.Close()
		p.udp.give()
		p.flows.remove(f)
	})
	return c
}
