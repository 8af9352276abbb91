//go:build e2e

package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// frameProbe is a probe of frames that no kernel would send.
type frameProbe struct {
	name   string
	frames func(s *sender, text string) [][]byte
	asks   byte // for the hardware address of whom beside the guest, so that an answer tells; 0 for nobody
}

// packet is an IPv4 packet to be.
type packet struct {
	src, dst string // src "" for the guest's own
	protocol byte   // 0 for UDP
	payload  []byte // of the protocol; nil for a datagram with the probe's text
	options  []byte
	id       uint16
	fragment uint16 // the flags and offset field
	ttl      byte   // 0 for 64
}

func (s *sender) ip(p packet, text string) []byte {
	src := s.address
	if p.src != "" {
		src = netip.MustParseAddr(p.src)
	}
	dst := netip.MustParseAddr(p.dst)
	if p.protocol == 0 {
		p.protocol = unix.IPPROTO_UDP
	}
	if p.payload == nil {
		p.payload = datagram(src, dst, text)
	}
	if p.ttl == 0 {
		p.ttl = 64
	}
	size := 20 + len(p.options)
	b := make([]byte, size, size+len(p.payload))
	b[0] = 4<<4 | byte(size/4)
	binary.BigEndian.PutUint16(b[2:], uint16(size+len(p.payload)))
	binary.BigEndian.PutUint16(b[4:], p.id)
	binary.BigEndian.PutUint16(b[6:], p.fragment)
	b[8], b[9] = p.ttl, p.protocol
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	copy(b[20:], p.options)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return append(b, p.payload...)
}

// datagram is a UDP datagram to recordPort with the text as its line.
func datagram(src, dst netip.Addr, text string) []byte {
	return datagramAt(netip.AddrPortFrom(src, 4444), netip.AddrPortFrom(dst, recordPort), []byte(text+"\n"))
}

func datagramAt(src, dst netip.AddrPort, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(append(b, 0, 0), payload...)
	binary.BigEndian.PutUint16(b[6:], sumOf(src.Addr(), dst.Addr(), unix.IPPROTO_UDP, b))
	return b
}

// sumOf is the checksum of a message of a protocol over IPv4 or IPv6, whose field for it is zero.
func sumOf(src, dst netip.Addr, protocol byte, message []byte) uint16 {
	pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, protocol, byte(len(message)>>8), byte(len(message)))
	return checksum(append(pseudo, message...))
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func frame(dst, src net.HardwareAddr, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst...), src...)
	return append(append(b, byte(kind>>8), byte(kind)), payload...)
}

// usual is a frame from the guest to its gateway.
func (s *sender) usual(payload []byte) []byte {
	return frame(s.gateway, s.mac, unix.ETH_P_IP, payload)
}

// one is a probe of one packet in a usual frame.
func one(name string, p packet) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte { return [][]byte{s.usual(s.ip(p, text))} }}
}

// to is a probe of a datagram to an address.
func to(name, dst string) frameProbe { return one(name, packet{dst: dst}) }

// icmp is an ICMP message: the word after its checksum, and what follows.
func (s *sender) icmp(dst string, kind, code byte, word, rest []byte) []byte {
	message := slices.Concat([]byte{kind, code, 0, 0}, word, rest)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	return s.ip(packet{dst: dst, protocol: unix.IPPROTO_ICMP, payload: message}, "")
}

func ping(name, dst string) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		return [][]byte{s.usual(s.icmp(dst, 8, 0, []byte{0x12, 0x34, 0, 1}, []byte(text+"\n")))}
	}}
}

// inFragments cuts a datagram into fragments of a size, a multiple of 8.
func inFragments(name string, dst string, size int, change func(fragments [][]byte) [][]byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		whole := datagram(s.address, netip.MustParseAddr(dst), text)
		var all [][]byte
		for at := 0; at < len(whole); at += size {
			end, more := at+size, uint16(0x2000)
			if end >= len(whole) {
				end, more = len(whole), 0
			}
			all = append(all, s.usual(s.ip(packet{dst: dst, payload: whole[at:end], id: uint16(len(text)*7919 + len(name)), fragment: more | uint16(at/8)}, text)))
		}
		return change(all)
	}}
}

func asTheyAre(fragments [][]byte) [][]byte { return fragments }

// odd is a probe of a frame that is made of a usual datagram to a server that may be reached.
func odd(name string, change func(s *sender, frame []byte) []byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		return [][]byte{change(s, s.usual(s.ip(packet{dst: "11.0.0.2"}, text)))}
	}}
}

// frameProbes are all there are. They begin and end with what is allowed, so that what is between was not too early or late.
func frameProbes(guestGateway, otherGuest string) []frameProbe {
	return slices.Concat(
		packetProbes(guestGateway, otherGuest), kindProbes(otherGuest), arpProbes(guestGateway, otherGuest),
		ipv6Probes(otherGuest), linkProbes(guestGateway, otherGuest), []frameProbe{to("allowed udp at the end", "11.0.0.2")})
}

// strange is a station that nobody has.
func strange() net.HardwareAddr { return net.HardwareAddr{2, 1, 2, 3, 4, 5} }

func packetProbes(guestGateway, otherGuest string) []frameProbe {
	return []frameProbe{
		to("allowed udp", "11.0.0.2"),
		to("second udp", "11.0.0.3"),
		to("host", "11.0.0.1"),
		to("host's private address", "10.9.0.1"),
		to("private network", "10.9.0.2"),
		to("provider's network", "100.64.0.2"),
		to("metadata", "169.254.169.254"),
		to("loopback", "127.0.0.1"),
		to("all of this network", "0.0.0.0"),
		to("gateway", guestGateway),
		to("another guest", otherGuest),
		to("a guest that is not", "198.19.255.254"),
		to("broadcast", "255.255.255.255"),
		to("the private network's broadcast", "10.9.0.255"),
		to("multicast", "224.0.0.251"),
		to("reserved", "240.0.0.1"),
		one("from another guest", packet{src: otherGuest, dst: "11.0.0.2"}),
		one("from the gateway", packet{src: guestGateway, dst: "11.0.0.2"}),
		one("from another guest to the gateway", packet{src: otherGuest, dst: guestGateway}),
		one("from a stranger", packet{src: "11.0.0.9", dst: "11.0.0.2"}),
		one("from loopback", packet{src: "127.0.0.1", dst: "11.0.0.2"}),
		one("from nobody", packet{src: "0.0.0.0", dst: "11.0.0.2"}),
		one("from everybody", packet{src: "255.255.255.255", dst: "11.0.0.2"}),
		one("from another guest to another guest", packet{src: guestGateway, dst: otherGuest}),
		one("source routed", packet{dst: "11.0.0.2", options: []byte{131, 7, 4, 10, 9, 0, 2, 0}}),
		one("strictly source routed", packet{dst: "10.9.0.2", options: []byte{137, 7, 4, 11, 0, 0, 2, 0}}),
		of("IPv4 in IPv4", unix.IPPROTO_IPIP, "11.0.0.2", []byte("E")),
		of("IPv6 in IPv4", unix.IPPROTO_IPV6, "11.0.0.2", make([]byte, 40)),
		of("GRE", unix.IPPROTO_GRE, "11.0.0.2", make([]byte, 8)),
		of("SCTP", unix.IPPROTO_SCTP, "10.9.0.2", make([]byte, 12)),
		one("an end without a begin", packet{dst: "11.0.0.2", fragment: 100}),
		ping("ping to the private network", "10.9.0.2"),
		ping("ping to metadata", "169.254.169.254"),
		ping("ping to another guest", otherGuest),
		inFragments("fragments", "11.0.0.2", 16, asTheyAre),
		inFragments("fragments to the private network", "10.9.0.2", 16, asTheyAre),
		inFragments("fragments to metadata", "169.254.169.254", 8, asTheyAre),
		inFragments("fragments to another guest", otherGuest, 8, asTheyAre),
		inFragments("a begin without an end", "11.0.0.2", 16, func(f [][]byte) [][]byte { return f[:1] }),
		odd("from a strange station", func(s *sender, f []byte) []byte { copy(f[6:], strange()); return f }),
		odd("from the gateway's station", func(s *sender, f []byte) []byte { copy(f[6:], s.gateway); return f }),
		odd("from a multicast station", func(_ *sender, f []byte) []byte { f[6] |= 1; return f }),
		odd("to a strange station", func(_ *sender, f []byte) []byte { copy(f, strange()); return f }),
		odd("to all stations", func(_ *sender, f []byte) []byte { copy(f, "\xff\xff\xff\xff\xff\xff"); return f }),
		odd("tagged", func(_ *sender, f []byte) []byte {
			return append(append(append([]byte{}, f[:12]...), 0x81, 0, 0, 5), f[12:]...)
		}),
		odd("longer than it is", func(_ *sender, f []byte) []byte { f[16], f[17] = 0xff, 0xff; return f }),
		odd("shorter than its header", func(_ *sender, f []byte) []byte { f[16], f[17] = 0, 10; return f }),
		odd("a header of no words", func(_ *sender, f []byte) []byte { f[14] = 0x40; return f }),
		odd("a header of many words", func(_ *sender, f []byte) []byte { f[14] = 0x4f; return f }),
		odd("version 5", func(_ *sender, f []byte) []byte { f[14] = 0x55; return f }),
		odd("a wrong sum", func(_ *sender, f []byte) []byte { f[24] ^= 0xff; return f }),
		odd("cut short", func(_ *sender, f []byte) []byte { return f[:30] }),
		odd("an empty frame", func(_ *sender, f []byte) []byte { return f[:14] }),
		odd("eleven bytes", func(_ *sender, f []byte) []byte { return f[:11] }),
		odd("a huge frame", func(_ *sender, f []byte) []byte { return append(f, make([]byte, 60000)...) }),
	}
}
