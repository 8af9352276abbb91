package port

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// acceptTCP deals with a guest's SYN. It is called in a goroutine of its own.
func (p *Port) acceptTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	dst := addrPort(id.LocalAddress, id.LocalPort)
	f := p.flows.add(p.ctx, dst, nil)
	if f == nil {
		r.Complete(true)
		return
	}
	defer p.flows.remove(f)
	if !p.tcp.take() {
		p.deny("tcp", dst.String(), p.full("connections", p.env.Limits.TCP))
		r.Complete(true)
		return
	}
	gone := sync.OnceFunc(p.tcp.give)
	verdict := p.decide(dst, "")
	f.allowAs(verdict.Name)
	switch {
	case !verdict.Allowed:
		p.deny("tcp", dst.String(), verdict.Rule)
		r.Complete(true)
		gone()
	case dst.Addr() == p.identity.Gateway && dst.Port() == DNS:
		p.answerTCP(f, r)
		gone()
	default:
		p.connectTCP(f, r, gone)
	}
}

// connectTCP connects to where the guest wants to, and only then accepts.
func (p *Port) connectTCP(f *flow, r *tcp.ForwarderRequest, gone func()) {
	host, err := p.dialTCP(f)
	if err != nil {
		r.Complete(true)
		gone()
		return
	}
	ep, queue, err := p.handshake(f, r)
	s := stream{ep: ep, queue: queue, host: host, buffers: &p.buffers}
	if err != nil {
		s.hangUp()
		gone()
		return
	}
	p.relay(f, s, gone)
}

// handshake accepts the guest's connection. The stack would wait for the guest's last word for minutes, and whatever
// happens meanwhile: the endpoint is aborted behind its back when that takes too long or the flow ends.
func (p *Port) handshake(f *flow, r *tcp.ForwarderRequest) (tcpip.Endpoint, *waiter.Queue, error) {
	ctx, cancel := context.WithTimeout(f.ctx, p.env.Timeouts.Handshake)
	defer cancel()
	over := make(chan struct{})
	id := r.ID()
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-over:
			return
		case <-ctx.Done():
		}
		again := time.NewTimer(0)
		defer again.Stop()
		for {
			again.Reset(handshakeRetry)
			// It may not be entered yet.
			if ep := p.stack.FindTransportEndpoint(ipv4.ProtocolNumber, tcp.ProtocolNumber, id, nicID); ep != nil {
				ep.Abort()
			}
			select {
			case <-over:
				return
			case <-again.C:
			}
		}
	})
	queue := new(waiter.Queue)
	ep, failed := r.CreateEndpoint(queue)
	close(over)
	watch.Wait()
	r.Complete(failed != nil)
	if failed != nil {
		return nil, nil, fmt.Errorf("the guest does not finish its handshake: %s", failed)
	}
	return ep, queue, nil
}

// handshakeRetry is how often an endpoint is looked for that is about to be made and has to be aborted.
const handshakeRetry = 10 * time.Millisecond

func (p *Port) dialTCP(f *flow) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(f.ctx, p.env.Timeouts.Dial)
	defer cancel()
	conn, err := p.env.Dial(ctx, "tcp4", p.target(f.dst))
	if err != nil {
		return nil, err
	}
	host, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("not a TCP connection: %T", conn)
	}
	return host, nil
}

// relay carries bytes until both ends have finished or one breaks. gone is called once the guest's side takes nothing of
// the host any more, which may be later.
func (p *Port) relay(f *flow, s stream, gone func()) {
	p.allot(s.ep)
	if !f.whenAborted(s.hangUp) {
		s.hangUp()
	}
	var other sync.WaitGroup
	var broken [2]error
	other.Go(func() {
		if broken[0] = s.toHost(f.ctx); broken[0] != nil {
			f.abort()
		}
	})
	if broken[1] = s.toGuest(f.ctx); broken[1] != nil {
		f.abort()
	}
	other.Wait()
	if broken[0] != nil || broken[1] != nil {
		s.ep.Abort() // the guest sees a reset, as the other end does
	}
	s.host.Close()
	p.settle(s, gone)
}

// settle closes the guest's side and calls gone once it has taken what was sent, or has not for too long.
func (p *Port) settle(s stream, gone func()) {
	late := time.AfterFunc(p.env.Timeouts.Settle, func() {
		s.ep.Abort()
		gone()
	})
	entry := waiter.NewFunctionEntry(waiter.EventHUp, func(waiter.EventMask) {
		late.Stop()
		gone()
	})
	s.queue.EventRegister(&entry)
	s.ep.Close()
	switch tcp.EndpointState(s.ep.State()) {
	case tcp.StateClose, tcp.StateError:
		late.Stop()
		gone()
	}
}

// dialGuest connects to a port of the guest, from the gateway's address.
func (p *Port) dialGuest(ctx context.Context, port uint16) (tcpip.Endpoint, *waiter.Queue, error) {
	queue := new(waiter.Queue)
	ep, err := p.guestEndpoint(tcp.ProtocolNumber, queue)
	if err != nil {
		return nil, nil, err
	}
	entry, done := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	failed := ep.Connect(full(p.guest(port)))
	if _, started := failed.(*tcpip.ErrConnectStarted); started {
		select {
		case <-done:
			failed = ep.LastError()
		case <-ctx.Done():
			failed = &tcpip.ErrTimeout{}
		}
	}
	if failed != nil {
		ep.Abort()
		return nil, nil, fmt.Errorf("cannot connect to port %d of the guest: %s", port, failed)
	}
	return ep, queue, nil
}
