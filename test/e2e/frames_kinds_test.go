//go:build e2e

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// of is a probe of a protocol over IPv4: its header, and the text.
func of(name string, protocol byte, dst string, header []byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		payload := append(slices.Clone(header), text+"\n"...)
		return [][]byte{s.toStation(s.ip(packet{dst: dst, protocol: protocol, payload: payload}, text))}
	}}
}

// within is a probe of a datagram to the private network in a packet to somebody who may unpack it. Nobody here does: it
// is seen as it is.
func within(name string, protocol byte, dst string, header []byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		inner := s.ip(packet{dst: "10.9.0.2"}, text)
		return [][]byte{s.usual(s.ip(packet{dst: dst, protocol: protocol, payload: append(slices.Clone(header), inner...)}, text))}
	}}
}

// ports is a probe of a datagram between ports of a protocol's own: the beginning of what it says, and the text.
func ports(name, src, dst string, from, to uint16, says []byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		source := s.address
		if src != "" {
			source = netip.MustParseAddr(src)
		}
		target := netip.MustParseAddr(dst)
		payload := datagramAt(netip.AddrPortFrom(source, from), netip.AddrPortFrom(target, to), append(slices.Clone(says), text+"\n"...))
		return [][]byte{s.toStation(s.ip(packet{src: src, dst: dst, payload: payload}, text))}
	}}
}

// stationOf is where a kernel sends what goes to an address.
func (s *sender) stationOf(dst netip.Addr) net.HardwareAddr {
	b := dst.AsSlice()
	switch {
	case dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return everybody()
	case dst.Is4() && dst.IsMulticast():
		return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	case dst.IsMulticast():
		return append(net.HardwareAddr{0x33, 0x33}, b[12:]...)
	}
	return s.gateway
}

// toStation is an IPv4 packet in a frame to where a kernel sends it.
func (s *sender) toStation(packet []byte) []byte {
	return frame(s.stationOf(netip.AddrFrom4([4]byte(packet[16:20]))), s.mac, unix.ETH_P_IP, packet)
}

// icmp is a probe of an ICMP message: the word after its checksum, and the text.
func icmp(name, dst string, kind, code byte, word []byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		return [][]byte{s.toStation(s.icmp(dst, kind, code, word, []byte(text+"\n")))}
	}}
}

// icmpAbout is a probe of an ICMP error about a datagram that somebody is said to have sent.
func icmpAbout(name, dst string, kind, code byte, word []byte, about packet) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		return [][]byte{s.usual(s.icmp(dst, kind, code, word, s.ip(about, text)))}
	}}
}

// segment is a probe of a TCP segment out of nothing, with the text.
func segment(name, dst string, flags byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		b := binary.BigEndian.AppendUint16(nil, 4445)
		b = binary.BigEndian.AppendUint16(b, recordPort)
		b = append(b, 0, 0, 1, 0, 0, 0, 2, 0, 5<<4, flags, 0x40, 0, 0, 0, 0, 0)
		b = append(b, text+"\n"...)
		binary.BigEndian.PutUint16(b[16:], sumOf(s.address, netip.MustParseAddr(dst), unix.IPPROTO_TCP, b))
		return [][]byte{s.usual(s.ip(packet{dst: dst, protocol: unix.IPPROTO_TCP, payload: b}, text))}
	}}
}

func twice(f [][]byte) [][]byte { return slices.Concat(f[:1], f) }

func backwards(f [][]byte) [][]byte {
	slices.Reverse(f)
	return f
}

// kindProbes are of what a guest has no use for: options, tunnels, other protocols, addresses of others.
func kindProbes(otherGuest string) []frameProbe {
	none := make([]byte, 4)
	return []frameProbe{
		to("the host's network's broadcast", "11.0.0.255"),
		one("route recorded", packet{dst: "11.0.0.2", options: []byte{7, 7, 4, 0, 0, 0, 0, 0}}),
		one("timestamped to the private network", packet{dst: "10.9.0.2", options: []byte{68, 8, 5, 0, 0, 0, 0, 0}}),
		one("router alert to another guest", packet{dst: otherGuest, options: []byte{148, 4, 0, 0}}),
		one("one hop to the host's private address", packet{dst: "10.9.0.1", ttl: 1}),
		one("from the private network", packet{src: "10.9.0.2", dst: "11.0.0.2"}),
		one("from the host", packet{src: "11.0.0.1", dst: "11.0.0.2"}),
		one("from metadata", packet{src: "169.254.169.254", dst: "11.0.0.2"}),
		one("from multicast", packet{src: "224.0.0.1", dst: "11.0.0.2"}),
		{name: "to itself", frames: func(s *sender, text string) [][]byte {
			return [][]byte{s.usual(s.ip(packet{dst: s.address.String()}, text))}
		}},

		within("IPv4 in IPv4 to the private network", unix.IPPROTO_IPIP, "10.9.0.2", nil),
		within("IPv4 in GRE to metadata", unix.IPPROTO_GRE, "169.254.169.254", []byte{0, 0, 8, 0}),
		of("ESP", unix.IPPROTO_ESP, "10.9.0.2", []byte{0, 0, 1, 0, 0, 0, 0, 1}),
		of("AH", unix.IPPROTO_AH, "11.0.0.2", []byte{unix.IPPROTO_UDP, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}),
		of("UDP-Lite", unix.IPPROTO_UDPLITE, "10.9.0.2", []byte{0x11, 0x5c, 0x1b, 0x58, 0, 0, 0, 0}),
		of("IGMP", unix.IPPROTO_IGMP, "224.0.0.22", []byte{0x22, 0, 0, 0, 0, 0, 0, 0}),
		of("VRRP", 112, "224.0.0.18", []byte{0x21, 1, 255, 1, 0, 1, 0, 0}),
		ports("Teredo to the private network", "", "10.9.0.2", 4444, 3544, []byte{0x60, 0, 0, 0}),
		ports("VXLAN to the private network", "", "10.9.0.2", 4444, 4789, []byte{8, 0, 0, 0, 0, 0, 1, 0}),
		ports("DHCP question", "0.0.0.0", "255.255.255.255", 68, 67, dhcp(1)),
		ports("DHCP answer", "", "255.255.255.255", 67, 68, dhcp(2)),
		ports("multicast DNS", "", "224.0.0.251", 5353, 5353, make([]byte, 12)),
		ports("service discovery", "", "239.255.255.250", 1900, 1900, []byte("M-SEARCH * HTTP/1.1\r\n")),

		icmp("echo to everybody", "255.255.255.255", 8, 0, []byte{0x12, 0x34, 0, 1}),
		{name: "echo as another guest to the private network", frames: func(s *sender, text string) [][]byte {
			echo := s.icmp("10.9.0.2", 8, 0, []byte{0x12, 0x34, 0, 1}, []byte(text+"\n"))[20:]
			return [][]byte{s.usual(s.ip(packet{src: otherGuest, dst: "10.9.0.2", protocol: unix.IPPROTO_ICMP, payload: echo}, text))}
		}},
		icmp("an unasked answer to a ping to the private network", "10.9.0.2", 0, 0, []byte{0x12, 0x34, 0, 1}),
		icmp("ICMP timestamp to the private network", "10.9.0.2", 13, 0, none),
		icmp("ICMP router advertisement", "224.0.0.1", 9, 0, []byte{1, 2, 0, 60}),
		icmpAbout("ICMP redirect to another guest", otherGuest, 5, 1, none, packet{src: otherGuest, dst: "11.0.0.2"}),
		icmpAbout("ICMP unreachable to the private network", "10.9.0.2", 3, 1, none, packet{src: "10.9.0.2", dst: "11.0.0.2"}),

		segment("a stray segment to the private network", "10.9.0.2", 0x18),
		segment("a begin with data to metadata", "169.254.169.254", 0x02),
		segment("a reset to another guest", otherGuest, 0x14),

		inFragments("fragments with one twice to the private network", "10.9.0.2", 16, twice),
		inFragments("fragments backwards to metadata", "169.254.169.254", 16, backwards),
		inFragments("a late end to the host's private address", "10.9.0.1", 8, func(f [][]byte) [][]byte { return append(f[1:], f[0]) }),
	}
}

// dhcp is the beginning of a message of DHCP: operation 1 is a client's, 2 a server's.
func dhcp(operation byte) []byte {
	return slices.Concat([]byte{operation, 1, 6, 0}, make([]byte, 232), []byte{99, 130, 83, 99, 53, 1, operation, 255})
}
