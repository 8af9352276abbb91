package link

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// Sizes of headers, and where their fields are.
const (
	lengthSize   = 4
	ethernetSize = 14
	arpSize      = 28
	ipv4Size     = 20

	typeIPv4 = 0x0800
	typeARP  = 0x0806
)

// MAC is an ethernet address.
type MAC [6]byte

// GatewayMAC is our own address on every link. Each link is a wire of its own, so they may share it.
func GatewayMAC() MAC { return MAC{0x02, 'b', 'n', 'e', 't', 'd'} }

// pinned are the only addresses that a guest may send from.
type pinned struct {
	mac     MAC
	address [4]byte
}

// kind is what a frame is taken for.
type kind int

const (
	kindDropped kind = iota
	kindARP
	kindIPv4
)

// inspect says what a frame is. Only frames from the guest's own addresses pass: ARP requests, and IPv4 without options
// to one destination. IPv6, VLAN tags, broadcasts and everything unknown is dropped.
func (p pinned) inspect(frame []byte) kind {
	if len(frame) < ethernetSize || MAC(frame[6:12]) != p.mac {
		return kindDropped
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case typeARP:
		if p.validARP(frame[ethernetSize:]) {
			return kindARP
		}
	case typeIPv4:
		if MAC(frame[:6]) == GatewayMAC() && p.validIPv4(frame[ethernetSize:]) {
			return kindIPv4
		}
	}
	return kindDropped
}

// validARP takes requests for somebody else's address, with our guest's in both sender fields.
func (p pinned) validARP(arp []byte) bool {
	if len(arp) < arpSize {
		return false
	}
	const header = "\x00\x01\x08\x00\x06\x04\x00\x01" // ethernet, IPv4, their sizes, request
	target := [4]byte(arp[24:28])
	return string(arp[:8]) == header && MAC(arp[8:14]) == p.mac && [4]byte(arp[14:18]) == p.address &&
		target != p.address && target != [4]byte{}
}

func (p pinned) validIPv4(packet []byte) bool {
	if len(packet) < ipv4Size || packet[0] != 4<<4|ipv4Size/4 {
		return false
	}
	total := int(binary.BigEndian.Uint16(packet[2:]))
	destination := [4]byte(packet[16:20])
	// What is never on a wire, multicast and broadcast have nobody to go to.
	nobody := destination[0] == 0 || destination[0] == 127 || destination[0] >= 224 || destination == p.address
	return total >= ipv4Size && total <= len(packet) && [4]byte(packet[12:16]) == p.address && !nobody &&
		checksum.Checksum(packet[:ipv4Size], 0) == 0xffff
}

// replyARP returns the frame that answers a valid request: whatever address the guest looks for is behind us.
func (p pinned) replyARP(frame []byte) []byte {
	us, request := GatewayMAC(), frame[ethernetSize:]
	reply := make([]byte, 0, ethernetSize+arpSize)
	reply = append(reply, p.mac[:]...)
	reply = append(reply, us[:]...)
	reply = append(reply, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02"...)
	reply = append(reply, us[:]...)
	reply = append(reply, request[24:28]...) // the address asked for
	reply = append(reply, p.mac[:]...)
	return append(reply, p.address[:]...)
}

// Packet is an IPv4 packet that passed inspection: without options, and as long as its header says.
type Packet []byte

// Destination is where it goes.
func (p Packet) Destination() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }

// Protocol is its IP protocol number.
func (p Packet) Protocol() uint8 { return p[9] }

// Fragment says whether it is a part of a larger one.
func (p Packet) Fragment() bool { return binary.BigEndian.Uint16(p[6:])&0x3fff != 0 }

// Payload is what follows the IP header.
func (p Packet) Payload() []byte { return p[ipv4Size:] }
