package port

import (
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Buffers of a TCP connection with the guest, each way. The link is a copy in memory: what matters is that they hold a few
// of the largest segments, and that the many connections of a guest that reads nothing do not hold much.
const (
	minWindow     = 4 << 10
	smallWindow   = 128 << 10
	defaultWindow = 512 << 10
	maxWindow     = 4 << 20

	growing = 16  // as many connections may grow their buffers to the maximum
	roomy   = 128 // as many keep the default, and the rest get small ones
)

// window is the buffer size of a VM's n-th connection; 0 leaves it to grow by need.
func window(n int64) int64 {
	switch {
	case n <= growing:
		return 0
	case n <= roomy:
		return defaultWindow
	}
	return smallWindow
}

// allot gives a connection its share of the memory that a VM may hold.
func (p *Port) allot(ep tcpip.Endpoint) {
	if size := window(p.tcp.held.Load()); size > 0 {
		ep.SocketOptions().SetSendBufferSize(size, true)
		ep.SocketOptions().SetReceiveBufferSize(size, true)
	}
}

const nicID = 1

// A link that loses nothing needs no long memory of closed connections, and a guest that does not answer a handshake
// or a farewell is not waited for.
const (
	timeWait   = time.Second
	finWait    = 10 * time.Second
	synRetries = 3
)

// buildStack makes the stack that stands for everybody the guest can talk to.
func (p *Port) buildStack() error {
	p.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := p.setUpStack(); err != nil {
		p.closeStack()
		return fmt.Errorf("cannot make a network stack: %w", err)
	}
	p.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, tcp.NewForwarder(p.stack, defaultWindow, p.env.Pending, p.acceptTCP).HandlePacket)
	p.stack.SetTransportProtocolHandler(udp.ProtocolNumber, udp.NewForwarder(p.stack, p.acceptUDP).HandlePacket)
	return nil
}

func (p *Port) setUpStack() error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	wait, linger, retries := tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPLingerTimeoutOption(finWait), tcpip.TCPSynRetriesOption(synRetries)
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &wait, &linger, &retries,
		&tcpip.TCPSendBufferSizeRangeOption{Min: minWindow, Default: defaultWindow, Max: maxWindow},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: minWindow, Default: defaultWindow, Max: maxWindow},
	} {
		if err := p.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("%T: %s", option, err)
		}
	}
	if err := p.stack.CreateNIC(nicID, p.link); err != nil {
		return fmt.Errorf("the interface: %s", err)
	}
	if err := p.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber, AddressWithPrefix: address(p.identity.Gateway).WithPrefix(),
	}, stack.AddressProperties{}); err != nil {
		return fmt.Errorf("the gateway's address: %s", err)
	}
	if err := p.stack.SetPromiscuousMode(nicID, true); err != nil { // takes what is meant for others
		return fmt.Errorf("packets of others: %s", err)
	}
	if err := p.stack.SetSpoofing(nicID, true); err != nil { // answers in their name
		return fmt.Errorf("answers of others: %s", err)
	}
	p.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nicID}})
	return nil
}

// closeStack aborts what is left and lets the stack go. It does not wait for handshakes and farewells to time out.
func (p *Port) closeStack() {
	p.stack.Close()
	p.stack.RemoveNIC(nicID)
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: address(a.Addr()), Port: a.Port()}
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(a.As4()), port)
}
