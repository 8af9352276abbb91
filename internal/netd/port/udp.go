package port

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"banger/internal/netd/link"
)

// acceptUDP deals with the first datagram of a flow. It is called where packets arrive, so that it must not wait. False
// lets the stack answer that the port is unreachable.
func (p *Port) acceptUDP(r *udp.ForwarderRequest) bool {
	id := r.ID()
	dst := addrPort(id.LocalAddress, id.LocalPort)
	f := p.flows.add(p.ctx, dst, nil)
	if f == nil {
		return false
	}
	verdict := p.decide(dst, "")
	f.allowAs(verdict.Name)
	if !verdict.Allowed || dst.Port() == DNS && dst.Addr() == p.identity.Gateway {
		p.flows.remove(f)
		p.deny("udp", dst.String(), verdict.Rule)
		return false
	}
	if !p.udp.take() {
		p.flows.remove(f)
		p.deny("udp", dst.String(), p.full("UDP flows", p.env.Limits.UDP))
		return true
	}
	end := func() {
		p.flows.remove(f)
		p.udp.give()
	}
	conn, err := p.env.Dial(f.ctx, "udp4", p.target(dst)) // connects a socket; no packet is sent
	host, ok := conn.(*net.UDPConn)
	if err != nil || !ok {
		end()
		return false
	}
	queue := new(waiter.Queue)
	ep, failed := r.CreateEndpoint(queue)
	if failed != nil {
		host.Close()
		end()
		return false
	}
	d := datagrams{ep: ep, queue: queue, buffers: &p.buffers}
	p.tasks.Go(func() {
		defer end()
		p.relayUDP(f, d, host, id.RemotePort)
	})
	return true
}

// relayUDP carries datagrams until the flow is idle, aborted, or refused by the host.
func (p *Port) relayUDP(f *flow, d datagrams, host *net.UDPConn, from uint16) {
	defer d.ep.Close()
	if hangUp := func() { host.Close() }; !f.whenAborted(hangUp) {
		hangUp()
	}
	over := newIdle(p.env.UDPFirst, p.env.UDPStream, f.abort)
	defer over.stop()
	p.tasks.Go(func() {
		defer f.abort()
		raw, err := host.SyscallConn()
		if err != nil {
			return
		}
		err = d.toGuest(raw.Read, over)
		if errors.Is(err, unix.ECONNREFUSED) {
			p.refuseUDP(f.dst, from)
		}
	})
	_ = d.fromGuest(f.ctx, over, func(b []byte) error {
		if _, err := host.Write(b); errors.Is(err, unix.ECONNREFUSED) {
			p.refuseUDP(f.dst, from)
			return err
		}
		return nil // a datagram that the host does not send is a lost one
	})
	f.abort()
}

// refuseUDP tells the guest that nobody listens where it sent to, as the host was told.
func (p *Port) refuseUDP(dst netip.AddrPort, from uint16) {
	header := udpHeader(p.guest(from), dst)
	p.link.Send(unreachable(dst.Addr(), codePort, 0, link.Packet(header)), false)
}

// datagrams is the guest's side of a UDP flow.
type datagrams struct {
	ep      tcpip.Endpoint
	queue   *waiter.Queue
	buffers *buffers
}

// fromGuest gives each datagram of the guest to send.
func (d datagrams) fromGuest(ctx context.Context, over *idle, send func([]byte) error) error {
	entry, more := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventHUp | waiter.EventErr)
	d.queue.EventRegister(&entry)
	defer d.queue.EventUnregister(&entry)
	for {
		buf := d.buffers.get()
		w := tcpip.SliceWriter(*buf)
		result, failed := d.ep.Read(&w, tcpip.ReadOptions{})
		var err error
		if failed == nil {
			over.touch()
			err = send((*buf)[:result.Count])
		}
		d.buffers.put(buf)
		switch failed.(type) {
		case nil:
			if err != nil {
				return err
			}
		case *tcpip.ErrWouldBlock:
			select {
			case <-more:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return errBroken
		}
	}
}

// toGuest sends the guest each datagram that wait and a read of the descriptor yield.
func (d datagrams) toGuest(wait func(func(fd uintptr) bool) error, over *idle) error {
	for {
		buf, n, err := d.buffers.read(wait, copySize)
		if err != nil {
			return err
		}
		over.touch()
		d.send((*buf)[:n])
		d.buffers.put(buf)
	}
}

// send loses what the guest does not take.
func (d datagrams) send(b []byte) {
	_, _ = d.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{})
}

// guestEndpoint makes an endpoint that talks to the guest from the gateway's address.
func (p *Port) guestEndpoint(protocol tcpip.TransportProtocolNumber, queue *waiter.Queue) (tcpip.Endpoint, error) {
	ep, failed := p.stack.NewEndpoint(protocol, ipv4.ProtocolNumber, queue)
	if failed == nil {
		failed = ep.Bind(full(netip.AddrPortFrom(p.identity.Gateway, 0)))
	}
	if failed != nil {
		if ep != nil {
			ep.Close()
		}
		return nil, fmt.Errorf("cannot talk to the guest: %s", failed)
	}
	return ep, nil
}

// guest is a port of the guest.
func (p *Port) guest(port uint16) netip.AddrPort { return netip.AddrPortFrom(p.identity.Address, port) }
