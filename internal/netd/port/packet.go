package port

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"banger/internal/netd/link"
)

// What a destination-unreachable message says (RFC 792, RFC 1812).
const (
	codePort           = header.ICMPv4PortUnreachable
	codeFragmentation  = header.ICMPv4FragmentationNeeded
	codeHostProhibited = header.ICMPv4HostProhibited
	codeProhibited     = header.ICMPv4AdminProhibited
)

// quoted is how much of a packet an ICMP error repeats at most.
const quoted = 512

// ipv4Packet wraps a payload.
func ipv4Packet(from, to netip.Addr, protocol uint8, payload []byte) []byte {
	packet := make([]byte, header.IPv4MinimumSize+len(payload))
	h := header.IPv4(packet)
	h.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), TTL: 64, Protocol: protocol, SrcAddr: address(from), DstAddr: address(to),
	})
	h.SetChecksum(^h.CalculateChecksum())
	copy(packet[header.IPv4MinimumSize:], payload)
	return packet
}

// unreachable is the ICMP error about a packet of the guest, in the name of from.
func unreachable(from netip.Addr, code header.ICMPv4Code, mtu uint32, about link.Packet) []byte {
	quote := about[:min(len(about), quoted)]
	message := make([]byte, header.ICMPv4MinimumSize+len(quote))
	h := header.ICMPv4(message)
	h.SetType(header.ICMPv4DstUnreachable)
	h.SetCode(code)
	if code == codeFragmentation {
		h.SetMTU(uint16(min(mtu, 0xffff)))
	}
	copy(message[header.ICMPv4MinimumSize:], quote)
	h.SetChecksum(header.ICMPv4Checksum(h, 0))
	guest := netip.AddrFrom4([4]byte(about[12:16]))
	return ipv4Packet(from, guest, uint8(header.ICMPv4ProtocolNumber), message)
}

// udpHeader is the beginning of a datagram, enough for an ICMP error about it.
func udpHeader(from, to netip.AddrPort) []byte {
	datagram := make([]byte, header.UDPMinimumSize)
	header.UDP(datagram).Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: header.UDPMinimumSize})
	return ipv4Packet(from.Addr(), to.Addr(), uint8(header.UDPProtocolNumber), datagram)
}
