package port

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

type pingKey struct {
	dst netip.Addr
	id  uint16
}

// ping is one running ping of the guest, on a ping socket of the host (icmp(7)), which needs no privileges where
// net.ipv4.ping_group_range lets us have one.
type ping struct {
	key  pingKey
	file *os.File
}

func (pg *ping) close() { pg.file.Close() }

// pings are those of one port.
type pings struct {
	mu   sync.Mutex
	open map[pingKey]*ping
	shot bool
}

// send sends an echo request on the socket of its ping, a new one by need. False: the host does not let us.
func (s *pings) send(p *Port, key pingKey, request header.ICMPv4) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	pg := s.open[key]
	if pg == nil {
		if s.shot || len(s.open) >= p.env.Pings {
			return true // as if it got lost
		}
		var err error
		if pg, err = openPing(key); err != nil {
			return false
		}
		s.open[key] = pg
		p.tasks.Go(func() {
			p.echoReplies(pg)
			s.remove(pg)
		})
	}
	_ = pg.file.SetReadDeadline(time.Now().Add(p.env.Timeouts.Ping))
	_, err := pg.file.Write(request) // the kernel sets its own identifier and the checksum
	return err == nil
}

func (s *pings) remove(pg *ping) {
	pg.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[pg.key] == pg {
		delete(s.open, pg.key)
	}
}

func (s *pings) each(do func(*ping)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pg := range s.open {
		do(pg)
	}
}

func (s *pings) shut() {
	s.mu.Lock()
	s.shot = true
	s.mu.Unlock()
	s.each((*ping).close)
}

func openPing(key pingKey) (*ping, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: key.dst.As4()}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &ping{key: key, file: os.NewFile(uintptr(fd), fmt.Sprintf("ping of %s", key.dst))}, nil
}

// echoReplies gives the guest the replies, until there is none for a while.
func (p *Port) echoReplies(pg *ping) {
	buf := p.buffers.get()
	defer p.buffers.put(buf)
	for {
		n, err := pg.file.Read(*buf)
		if err != nil {
			return
		}
		message := header.ICMPv4((*buf)[:n])
		if n < header.ICMPv4MinimumSize || message.Type() != header.ICMPv4EchoReply || n+header.IPv4MinimumSize > int(p.identity.MTU) {
			continue
		}
		message.SetIdent(pg.key.id)
		message.SetChecksum(0)
		message.SetChecksum(header.ICMPv4Checksum(message, 0))
		p.link.Send(ipv4Packet(pg.key.dst, p.identity.Address, uint8(header.ICMPv4ProtocolNumber), message), false)
	}
}
