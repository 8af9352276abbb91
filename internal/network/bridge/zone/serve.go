package zone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"

	"banger/internal/model"
)

const (
	maxQuery       = 4096             // bytes of one that arrives in a datagram
	maxConnections = 32               // over TCP at one time
	connectionLife = 10 * time.Second // of one, whatever is asked on it
	errorPause     = time.Second      // before it is tried again, on a host that is short of something
)

// sockets are where a Server is asked.
type sockets struct {
	udp net.PacketConn
	tcp net.Listener
	ctx context.Context // ends with them
	end context.CancelFunc
}

// Serve answers what is asked over udp and tcp from now on, instead of where it was asked before. They are the Server's to
// close.
func (s *Server) Serve(udp net.PacketConn, tcp net.Listener) {
	at := &sockets{udp: udp, tcp: tcp}
	at.ctx, at.end = context.WithCancel(context.Background())
	s.replace(at)
	s.tasks.Go(func() { s.answerDatagrams(at) })
	s.tasks.Go(func() { s.answerConnections(at) })
}

// Serving says whether anybody is answered.
func (s *Server) Serving() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.at != nil
}

// Close has it answer nobody, until Serve is called again, and waits for the end of what it was about to say.
func (s *Server) Close() {
	s.replace(nil)
	s.tasks.Wait()
}

func (s *Server) replace(at *sockets) {
	s.mu.Lock()
	before := s.at
	s.at = at
	s.mu.Unlock()
	if before != nil {
		before.end()
		before.udp.Close()
		before.tcp.Close()
	}
}

// answerDatagrams answers one after the other: an answer takes no longer than its question took to come, so that a flood
// costs one goroutine and one buffer.
func (s *Server) answerDatagrams(at *sockets) {
	buf := make([]byte, maxQuery)
	for {
		n, from, err := at.udp.ReadFrom(buf)
		if err != nil {
			if !s.goOn(at, err) {
				return
			}
			continue
		}
		if !welcome(from, at.udp.LocalAddr()) {
			continue
		}
		s.contain(func() {
			query := new(dns.Msg)
			if query.Unpack(buf[:n]) != nil {
				return
			}
			if reply := s.answer(query); reply != nil {
				if packed, err := reply.Pack(); err == nil {
					_, _ = at.udp.WriteTo(packed, from) // a lost answer is asked for again
				}
			}
		})
	}
}

func (s *Server) answerConnections(at *sockets) {
	places := make(chan struct{}, maxConnections)
	for {
		conn, err := at.tcp.Accept()
		if err != nil {
			if !s.goOn(at, err) {
				return
			}
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			conn.Close() // who asks by datagrams is answered
			continue
		}
		s.tasks.Go(func() {
			defer func() { conn.Close(); <-places }()
			defer context.AfterFunc(at.ctx, func() { conn.Close() })()
			if welcome(conn.RemoteAddr(), conn.LocalAddr()) {
				s.contain(func() { s.answerConnection(conn) })
			}
		})
	}
}

// goOn waits after an error of the sockets, and says whether they are to be asked again.
func (s *Server) goOn(at *sockets, err error) bool {
	if at.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return false
	}
	s.log.Warn("cannot hear who asks for the names of VMs; trying again", "error", err)
	select {
	case <-time.After(errorPause):
		return true
	case <-at.ctx.Done():
		return false
	}
}

func (s *Server) answerConnection(raw net.Conn) {
	conn := &dns.Conn{Conn: raw}
	_ = conn.SetDeadline(time.Now().Add(connectionLife))
	for {
		query, err := conn.ReadMsg()
		if err != nil {
			return
		}
		reply := s.answer(query)
		if reply == nil || conn.WriteMsg(reply) != nil {
			return
		}
	}
}

// welcome says whether who asks may be answered: a VM may not, whatever became of the rules that keep it off.
func welcome(from, own net.Addr) bool {
	who, us := addressOf(from), addressOf(own)
	return who.IsValid() && (who == us || !model.GuestRange().Contains(who))
}

func addressOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// contain runs what works on somebody's bytes: should it panic, that is one question less, and not the end of the daemon.
func (s *Server) contain(do func()) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("a question for a name made us panic", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	do()
}
