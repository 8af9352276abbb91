package port

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"banger/internal/model"
)

const (
	maxQuery     = 4096             // bytes of one that arrives in a datagram
	maxDatagram  = 4096             // bytes of an answer in one, whatever the client offers
	queryTimeout = 10 * time.Second // between two questions on one connection
)

// dnsServer is the socket on which a port answers; there is none while the policy is none.
type dnsServer struct {
	mu   sync.Mutex
	conn *gonet.UDPConn
	shut bool
}

// serveDNS opens or closes the socket as the policy wants it.
func (p *Port) serveDNS() error {
	p.dns.mu.Lock()
	defer p.dns.mu.Unlock()
	if none := p.config.Load().Policy.Kind == model.KindNone; none || p.dns.conn != nil || p.dns.shut {
		if none && p.dns.conn != nil {
			p.dns.conn.Close()
			p.dns.conn = nil
		}
		return nil
	}
	local := full(netip.AddrPortFrom(p.identity.Gateway, DNS))
	conn, err := gonet.DialUDP(p.stack, &local, nil, ipv4.ProtocolNumber)
	if err != nil {
		return err
	}
	p.dns.conn = conn
	p.tasks.Go(func() { p.answerUDP(conn) })
	return nil
}

func (d *dnsServer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
}

// answerUDP answers until conn is closed.
func (p *Port) answerUDP(conn *gonet.UDPConn) {
	buf := make([]byte, maxQuery)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		p.contain(func() { p.answerDatagram(question{conn, from, buf[:n]}, p.tasks.Go) })
	}
}

// question is a datagram that came to the DNS port.
type question struct {
	conn     net.PacketConn
	from     net.Addr
	datagram []byte
}

// answerDatagram answers one query, by spawn as far as that takes time.
func (s *side) answerDatagram(q question, spawn func(func())) {
	query := new(dns.Msg)
	if query.Unpack(q.datagram) != nil || query.Response {
		return
	}
	if !s.queries.take() {
		sendUDP(q.conn, q.from, query, new(dns.Msg).SetRcode(query, dns.RcodeServerFailure))
		return
	}
	spawn(func() {
		defer s.queries.give()
		s.contain(func() {
			if reply := s.resolver.Answer(s.ctx, query); reply != nil {
				sendUDP(q.conn, q.from, query, reply)
			}
		})
	})
}

func sendUDP(conn net.PacketConn, to net.Addr, query, reply *dns.Msg) {
	size := dns.MinMsgSize
	if opt := query.IsEdns0(); opt != nil {
		size = min(max(size, int(opt.UDPSize())), maxDatagram)
	}
	reply.Truncate(size)
	if packed, err := reply.Pack(); err == nil {
		_, _ = conn.WriteTo(packed, to) // a lost answer is asked for again
	}
}

// answerTCP accepts a connection to our DNS port and answers on it, one question at a time.
func (p *Port) answerTCP(f *flow, r *tcp.ForwarderRequest) {
	ep, queue, err := p.handshake(f, r)
	if err != nil {
		return
	}
	defer context.AfterFunc(f.ctx, ep.Abort)() // in a goroutine of its own
	raw := gonet.NewTCPConn(queue, ep)
	defer raw.Close()
	conn := &dns.Conn{Conn: raw}
	p.contain(func() { p.answerStream(f.ctx, conn) })
}

// answerStream answers on a connection, one question at a time.
func (s *side) answerStream(ctx context.Context, conn *dns.Conn) {
	for ctx.Err() == nil {
		_ = conn.SetDeadline(time.Now().Add(queryTimeout))
		query, err := conn.ReadMsg()
		if err != nil {
			return
		}
		reply := s.resolver.Answer(ctx, query)
		if reply == nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(queryTimeout))
		if conn.WriteMsg(reply) != nil {
			return
		}
	}
}

// answerTo answers on a connection of the kernel's.
func (d *Direct) answerTo(f *flow, conn *net.TCPConn) {
	if hangUp := func() { reset(conn) }; !f.whenAborted(hangUp) {
		hangUp()
	}
	defer conn.Close()
	d.contain(func() { d.answerStream(f.ctx, &dns.Conn{Conn: conn}) })
}
