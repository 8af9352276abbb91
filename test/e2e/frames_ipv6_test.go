//go:build e2e

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// linkLocal is the address that a kernel gives to a station.
func linkLocal(mac net.HardwareAddr) netip.Addr {
	b := [16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe}
	copy(b[8:], mac[:3])
	copy(b[13:], mac[3:])
	b[8] ^= 2
	return netip.AddrFrom16(b)
}

// six is an IPv6 packet from the guest's own address.
func (s *sender) six(dst netip.Addr, next byte, payload []byte) []byte {
	b := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), next, 255}
	return slices.Concat(b, linkLocal(s.mac).AsSlice(), dst.AsSlice(), payload)
}

// six is a probe of an IPv6 packet in a frame to whom a kernel would send it.
func six(name, dst string, next byte, payload func(s *sender, dst netip.Addr, text string) []byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		to := netip.MustParseAddr(dst)
		return [][]byte{frame(s.stationOf(to), s.mac, unix.ETH_P_IPV6, s.six(to, next, payload(s, to, text)))}
	}}
}

// datagram6 is a datagram with the text.
func datagram6(s *sender, dst netip.Addr, text string) []byte {
	return datagram(linkLocal(s.mac), dst, text)
}

// behind is a datagram behind another header.
func behind(header ...byte) func(*sender, netip.Addr, string) []byte {
	return func(s *sender, dst netip.Addr, text string) []byte {
		return append(slices.Clone(header), datagram6(s, dst, text)...)
	}
}

// ports6 is a datagram between ports of a protocol's own.
func ports6(from, to uint16, says ...byte) func(*sender, netip.Addr, string) []byte {
	return func(s *sender, dst netip.Addr, text string) []byte {
		return datagramAt(netip.AddrPortFrom(linkLocal(s.mac), from), netip.AddrPortFrom(dst, to), append(slices.Clone(says), text+"\n"...))
	}
}

// icmp6 is an ICMPv6 message with the text in an option that receivers skip.
func icmp6(kind byte, body func(s *sender) []byte) func(*sender, netip.Addr, string) []byte {
	return func(s *sender, dst netip.Addr, text string) []byte {
		option := append([]byte{253, 0}, text+"\n"...)
		option = append(option, make([]byte, -len(option)&7)...)
		option[1] = byte(len(option) / 8)
		b := slices.Concat([]byte{kind, 0, 0, 0}, body(s), option)
		binary.BigEndian.PutUint16(b[2:], sumOf(linkLocal(s.mac), dst, unix.IPPROTO_ICMPV6, b))
		return b
	}
}

func fixed(b ...byte) func(*sender) []byte { return func(*sender) []byte { return b } }

// ipv6Probes are of what guests do not have. The host and other guests may well: to them all this would be good.
func ipv6Probes(otherGuest string) []frameProbe {
	const udp, icmp = unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6
	// at is a probe of a datagram to whom a station is.
	at := func(name string, station func(s *sender) net.HardwareAddr) frameProbe {
		return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
			dst := linkLocal(station(s))
			return [][]byte{frame(station(s), s.mac, unix.ETH_P_IPV6, s.six(dst, udp, datagram6(s, dst, text)))}
		}}
	}
	gateway := func(s *sender) net.HardwareAddr { return s.gateway }
	return []frameProbe{
		six("IPv6", "ff02::1", udp, datagram6),
		at("IPv6 to the gateway", gateway),
		at("IPv6 to another guest", (*sender).neighbour),
		six("IPv6 to the internet", "2001:db8::2", udp, datagram6),
		six("IPv6 to a private network", "fd00::2", udp, datagram6),
		six("IPv6 to the private network's IPv4", "::ffff:10.9.0.2", udp, datagram6),
		six("IPv6 with options for every hop", "ff02::1", unix.IPPROTO_HOPOPTS, behind(udp, 0, 5, 2, 0, 0, 1, 0)),
		six("IPv6 source routed", "2001:db8::2", unix.IPPROTO_ROUTING,
			behind(append([]byte{udp, 2, 0, 1, 0, 0, 0, 0}, netip.MustParseAddr("fd00::2").AsSlice()...)...)),
		six("IPv6 in a fragment", "ff02::1", unix.IPPROTO_FRAGMENT, behind(udp, 0, 0, 0, 0, 0, 0, 7)),
		six("IPv6 ping to all", "ff02::1", icmp, icmp6(128, fixed(0, 1, 0, 1))),
		six("IPv6 neighbour solicitation", "ff02::1", icmp, icmp6(135, func(s *sender) []byte {
			return append(make([]byte, 4), linkLocal(s.gateway).AsSlice()...)
		})),
		six("IPv6 neighbour advertisement", "ff02::1", icmp, icmp6(136, func(s *sender) []byte {
			return slices.Concat([]byte{0x20, 0, 0, 0}, linkLocal(s.gateway).AsSlice(), []byte{2, 1}, s.mac)
		})),
		six("IPv6 router solicitation", "ff02::2", icmp, icmp6(133, fixed(0, 0, 0, 0))),
		six("IPv6 router advertisement", "ff02::1", icmp, icmp6(134, fixed(64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0))),
		six("IPv6 redirect", "ff02::1", icmp, icmp6(137, func(s *sender) []byte {
			return slices.Concat(make([]byte, 4), linkLocal(s.mac).AsSlice(), netip.MustParseAddr("2001:db8::2").AsSlice())
		})),
		six("IPv6 listener report", "ff02::16", icmp, icmp6(143, fixed(0, 0, 0, 0))),
		six("DHCPv6", "ff02::1:2", udp, ports6(546, 547, 1, 0, 0, 1)),
		six("multicast DNS over IPv6", "ff02::fb", udp, ports6(5353, 5353, make([]byte, 12)...)),
		{name: "IPv6 said to be IPv4", frames: func(s *sender, text string) [][]byte {
			dst := linkLocal(s.gateway)
			return [][]byte{s.usual(s.six(dst, udp, datagram6(s, dst, text)))}
		}},
		{name: "IPv6 in IPv4 to another guest", frames: func(s *sender, text string) [][]byte {
			dst := netip.MustParseAddr("2001:db8::2")
			inner := s.six(dst, udp, datagram6(s, dst, text))
			return [][]byte{s.usual(s.ip(packet{dst: otherGuest, protocol: unix.IPPROTO_IPV6, payload: inner}, text))}
		}},
	}
}
