package port

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Forward publishes a port of the guest on the host.
type Forward struct {
	HostIP    netip.Addr
	HostPort  uint16 // 0 for any free one
	GuestPort uint16
	UDP       bool
}

func (f Forward) protocol() string {
	if f.UDP {
		return "UDP"
	}
	return "TCP"
}

// guest is where listeners lead: to a Port, or to a Direct; of a Door, from guests to the host.
type guest interface {
	// inbound connects somebody on the host to a port of the guest, or hangs up.
	inbound(l *Listener, host *net.TCPConn, guestPort uint16)
	// client has somebody on the host, from where datagrams came, talk to a port of the guest, until gone; nil when the guest
	// has too many or is not there.
	client(l *Listener, from netip.AddrPort, guestPort uint16, gone func()) *client
}

// Listener is a port of the host that is ours. It may be handed from one guest's port to another.
type Listener struct {
	wanted Forward // with the guest's port that it leads to now
	bound  uint16
	tcp    *net.TCPListener
	udp    *net.UDPConn
	target atomic.Pointer[target]
	start  sync.Once
	ctx    context.Context // of what came through it
	cancel context.CancelFunc
	done   sync.WaitGroup
}

type target struct {
	guest     guest
	guestPort uint16
}

// Forward is what the listener does, with the host's port that was taken.
func (l *Listener) Forward() Forward {
	f := l.wanted
	f.HostPort = l.bound
	return f
}

// newListener returns one that has nothing to listen on yet.
func newListener(f Forward, bound uint16) *Listener {
	l := &Listener{wanted: f, bound: bound}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// listen takes a port of the host. Nobody is answered before lead.
func listen(f Forward) (*Listener, error) {
	l := newListener(f, 0)
	at := netip.AddrPortFrom(f.HostIP, f.HostPort)
	var err error
	if f.UDP {
		if l.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err == nil {
			l.bound = uint16(l.udp.LocalAddr().(*net.UDPAddr).Port)
		}
	} else {
		if l.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err == nil {
			l.bound = uint16(l.tcp.Addr().(*net.TCPAddr).Port)
		}
	}
	if err != nil {
		l.cancel()
		return nil, explainListen(f, at, err)
	}
	return l, nil
}

func explainListen(f Forward, at netip.AddrPort, err error) error {
	what := fmt.Sprintf("cannot publish port %d of the guest at %s port %s of the host", f.GuestPort, f.protocol(), at)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return model.Errorf(model.ErrExists, "%s: another program listens there; choose another port", what)
	case errors.Is(err, unix.EACCES):
		return model.Errorf(model.ErrDenied, "%s: ports below 1024 are for root; choose a higher one", what)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return model.Errorf(model.ErrInvalid, "%s: the host has no such address", what)
	}
	return model.HostErrorf(err, "%s", what)
}

// lead makes the listener answer for a port of a guest.
func (l *Listener) lead(g guest, guestPort uint16) {
	l.wanted.GuestPort = guestPort
	if t := l.target.Load(); t == nil || t.guest != g || t.guestPort != guestPort {
		l.target.Store(&target{g, guestPort})
	}
	l.start.Do(func() {
		l.done.Go(func() {
			if l.udp != nil {
				l.serveUDP()
			} else {
				l.serveTCP()
			}
		})
	})
}

// Close gives the host's port back and ends what came through it.
func (l *Listener) Close() {
	if l.udp != nil {
		l.udp.Close()
	} else {
		l.tcp.Close()
	}
	l.cancel()
	l.done.Wait()
}

// acceptPause is how long a host without free descriptors is left alone.
const acceptPause = 100 * time.Millisecond

func (l *Listener) serveTCP() {
	for {
		conn, err := l.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause := time.NewTimer(acceptPause)
			<-pause.C
			continue
		}
		t := l.target.Load()
		l.done.Go(func() { t.guest.inbound(l, conn, t.guestPort) })
	}
}

// inbound implements guest.
func (p *Port) inbound(l *Listener, host *net.TCPConn, guestPort uint16) {
	refuse := func() {
		_ = host.SetLinger(0)
		host.Close()
	}
	from, _ := host.RemoteAddr().(*net.TCPAddr)
	f := p.flows.add(p.ctx, from.AddrPort(), l)
	if f == nil {
		refuse()
		return
	}
	defer p.flows.remove(f)
	defer context.AfterFunc(l.ctx, f.abort)()
	if !p.link.Connected() || !p.tcp.take() {
		refuse()
		return
	}
	gone := sync.OnceFunc(p.tcp.give)
	ctx, cancel := context.WithTimeout(f.ctx, p.env.Timeouts.Dial)
	ep, queue, err := p.dialGuest(ctx, guestPort)
	cancel()
	if err != nil {
		refuse()
		gone()
		return
	}
	p.relay(f, stream{ep: ep, queue: queue, host: host, buffers: &p.buffers}, gone)
}
