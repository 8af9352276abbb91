package link

import (
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Options describe one link. All must be set.
type Options struct {
	MAC     MAC        // the guest's
	Address netip.Addr // the guest's
	MTU     uint32
	// Divert is asked for each packet before the stack; true means that it was dealt with. The packet is its caller's
	// again when it returns.
	Divert func(Packet) bool
}

// Endpoint is the stack's side of a link. It needs no address resolution: there is one peer.
type Endpoint struct {
	fixed
	options Options
	pinned  pinned
	out     *queue

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
}

var _ stack.LinkEndpoint = (*Endpoint)(nil)

// New returns an endpoint that is connected to no VMM yet.
func New(o Options) *Endpoint {
	return &Endpoint{options: o, pinned: pinned{mac: o.MAC, address: o.Address.As4()}, out: newQueue()}
}

// Send sends a whole IPv4 packet to the guest, past the stack. It keeps packet. peer says that another VM made it.
func (e *Endpoint) Send(packet []byte, peer bool) { e.out.put(outgoing{raw: packet, peer: peer}) }

// Connected says whether there is a VMM at the other end.
func (e *Endpoint) Connected() bool {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	return e.out.open
}

// WritePackets implements stack.LinkWriter. A full queue is no error: a link loses packets.
func (e *Endpoint) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range packets.AsSlice() {
		e.out.put(outgoing{packet: p.Clone()})
	}
	return packets.Len(), nil
}

// Attach implements stack.NetworkLinkEndpoint.
func (e *Endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = d
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (e *Endpoint) IsAttached() bool { return e.attached() != nil }

func (e *Endpoint) attached() stack.NetworkDispatcher {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.dispatcher
}

// MTU implements stack.NetworkLinkEndpoint: the largest IP packet.
func (e *Endpoint) MTU() uint32 { return e.options.MTU }

// Capabilities implements stack.NetworkLinkEndpoint. A Unix socket changes no bytes, so that the checksums of what
// arrives need no second look.
func (e *Endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// LinkAddress implements stack.NetworkLinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress {
	us := GatewayMAC()
	return tcpip.LinkAddress(us[:])
}

// fixed is the rest of stack.NetworkLinkEndpoint: the queue adds the ethernet header, and nothing here changes.
type fixed struct{}

func (fixed) SetMTU(uint32)                           {}
func (fixed) SetLinkAddress(tcpip.LinkAddress)        {}
func (fixed) MaxHeaderLength() uint16                 { return 0 }
func (fixed) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (fixed) AddHeader(*stack.PacketBuffer)           {}
func (fixed) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (fixed) Wait()                                   {}
func (fixed) Close()                                  {}
func (fixed) SetOnCloseAction(func())                 {}
