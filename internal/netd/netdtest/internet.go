package netdtest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Internet stands for everything that the host reaches: addresses that lead to servers on loopback.
type Internet struct {
	mu     sync.Mutex
	hosts  map[string]string // network and address, to the address on loopback
	dialed []string
}

// NewInternet returns an empty one.
func NewInternet() *Internet { return &Internet{hosts: map[string]string{}} }

// Put makes an address lead to a server.
func (i *Internet) Put(network, address string, at net.Addr) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hosts[network+" "+address] = at.String()
}

// TCP serves an address by handle, once per connection.
func (i *Internet) TCP(t testing.TB, address string, handle func(*net.TCPConn)) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	i.Put("tcp4", address, l.Addr())
}

// UDP serves an address: each datagram is answered by what answer returns, unless that is nil.
func (i *Internet) UDP(t testing.TB, address string, answer func([]byte) []byte) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if b := answer(slices.Clone(buf[:n])); b != nil {
				_, _ = c.WriteToUDPAddrPort(b, from)
			}
		}
	})
	t.Cleanup(func() { c.Close(); wg.Wait() })
	i.Put("udp4", address, c.LocalAddr())
}

// Dial is port.Env's.
func (i *Internet) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	i.mu.Lock()
	i.dialed = append(i.dialed, network+" "+address)
	at, known := i.hosts[network+" "+address]
	i.mu.Unlock()
	if host := netip.MustParseAddrPort(address); !known && host.Addr().IsLoopback() {
		at, known = address, true
	}
	if !known {
		return nil, &net.OpError{Op: "dial", Net: network, Err: unix.ECONNREFUSED}
	}
	return new(net.Dialer).DialContext(ctx, network, at)
}

// Dialed says whether an address was connected to.
func (i *Internet) Dialed(network, address string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.dialed, network+" "+address)
}
