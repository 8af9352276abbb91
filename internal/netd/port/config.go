package port

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/egress"
	"banger/internal/model"
	"banger/internal/netd/link"
	"banger/internal/netd/names"
)

// Identity is what a live port cannot change: another one is another port. Of a VM whose packets the host's kernel carries
// it has the addresses.
type Identity struct {
	Socket  string // on which the VMM listens
	MAC     link.MAC
	Address netip.Addr // the guest's
	Gateway netip.Addr // ours
	MTU     uint32
}

// Config is what a port should be.
type Config struct {
	ID   string
	Name string
	Identity
	Policy    model.Policy
	HostPorts map[uint16]bool // of the host's loopback, reachable at the gateway's address
}

// Limits cap what one VM holds of the host.
type Limits struct {
	TCP     int // connections, half-closed and closing ones included
	Pending int // connections being made
	UDP     int // flows
	Pings   int // flows
	Queries int // names being looked up
}

// DefaultLimits returns the limits for a process that may open so many files: a VM may have a quarter of them.
func DefaultLimits(files uint64) Limits {
	quarter := int(min(files, 1<<20) / 4)
	return Limits{
		TCP: min(1024, quarter*5/8), Pending: min(256, quarter/8), UDP: min(1024, quarter/4), Pings: min(32, quarter/64), Queries: min(64, quarter/16),
	}
}

// Timeouts are how long is waited for others.
type Timeouts struct {
	Dial      time.Duration // a destination that does not answer
	Handshake time.Duration // a guest that begins a connection and says no more
	Settle    time.Duration // a guest that does not take the rest of a closed connection
	UDPFirst  time.Duration // a UDP flow that was one question
	UDPStream time.Duration // one in which more was said
	Ping      time.Duration
}

// DefaultTimeouts are the shipped ones.
func DefaultTimeouts() Timeouts {
	return Timeouts{Dial: 30 * time.Second, Handshake: 10 * time.Second, Settle: 30 * time.Second, UDPFirst: 30 * time.Second, UDPStream: 2 * time.Minute, Ping: 10 * time.Second}
}

// Env is what ports need of the process. None may be nil.
type Env struct {
	Dial   func(ctx context.Context, network, address string) (net.Conn, error) // from the host; a *net.TCPConn or *net.UDPConn
	Own    egress.OwnAddress
	Host   *names.Host
	Dialer *link.Dialer
	Peers  func(self *Port, addr netip.Addr) *Port // who has an address among the VMs of the same groups
	Named  func(self *Port, name string) *Port     // and who has a name
	// Likewise for VMs whose packets the host's kernel carries.
	DirectPeers func(self *Direct, addr netip.Addr) *Direct
	DirectNamed func(self *Direct, name string) *Direct
	Pin         func(ctx context.Context, p Pin) error
	Limits
	Timeouts
	Log *slog.Logger
}

// HostDial is the shipped Env.Dial. The kernel looks now and then whether a silent peer is still there. To broadcast
// addresses, of which only the kernel knows all, it connects nobody, though the library lets each UDP socket do so.
func HostDial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 5},
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0) })
			return errors.Join(failed, err)
		},
	}
	return dialer.DialContext(ctx, network, address)
}
