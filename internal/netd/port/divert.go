package port

import (
	"net/netip"
	"slices"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"banger/internal/netd/link"
)

// divert deals with what is not for the stack: packets to VMs of the same group, and everything that is neither TCP nor
// UDP. It is called for each packet, where packets arrive.
func (p *Port) divert(packet link.Packet) bool {
	dst := packet.Destination()
	if peer := p.env.Peers(p, dst); peer != nil {
		p.handOver(packet, peer)
		return true
	}
	switch protocol := packet.Protocol(); protocol {
	case uint8(header.TCPProtocolNumber), uint8(header.UDPProtocolNumber):
		return false
	case uint8(header.ICMPv4ProtocolNumber):
		if dst == p.identity.Gateway {
			return false // the stack answers for itself
		}
		p.echo(packet)
	default:
		p.deny("ip", dst.String(), "IP protocol "+strconv.Itoa(int(protocol))+" is not carried")
	}
	return true
}

// handOver gives a packet to the link of another VM.
func (p *Port) handOver(packet link.Packet, peer *Port) {
	if mtu := peer.identity.MTU; uint32(len(packet)) > mtu {
		p.link.Send(unreachable(p.identity.Gateway, codeFragmentation, mtu, packet), false)
		return
	}
	peer.link.Send(slices.Clone(packet), true)
}

// echo deals with an ICMP packet to somebody else. Of these only echo requests are carried.
func (p *Port) echo(packet link.Packet) {
	dst, message := packet.Destination(), header.ICMPv4(packet.Payload())
	if packet.Fragment() || len(message) < header.ICMPv4MinimumSize || message.Type() != header.ICMPv4Echo {
		return
	}
	if verdict := p.decide(netip.AddrPortFrom(dst, 0), ""); !verdict.Allowed {
		p.deny("icmp", dst.String(), verdict.Rule)
		p.link.Send(unreachable(p.identity.Gateway, codeProhibited, 0, packet), false)
		return
	}
	if !p.pings.send(p, pingKey{dst, message.Ident()}, message) {
		p.link.Send(unreachable(p.identity.Gateway, codeHostProhibited, 0, packet), false)
	}
}
