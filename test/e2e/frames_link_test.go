//go:build e2e

package e2e

import (
	"encoding/binary"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// tagged puts bytes before a frame's type.
func tagged(f []byte, tag ...byte) []byte { return slices.Concat(f[:12], tag, f[12:]) }

// sized has a frame without a type tell its length in its place.
func sized(f []byte) []byte {
	if binary.BigEndian.Uint16(f[12:]) == 0 {
		binary.BigEndian.PutUint16(f[12:], uint16(len(f)-14))
	}
	return f
}

// in is a probe of a usual datagram to a server that may be reached, in a frame of another type, behind a header.
func in(name string, kind uint16, header ...byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		payload := append(slices.Clone(header), s.ip(packet{dst: "11.0.0.2"}, text)...)
		if kind == unix.ETH_P_PPP_SES {
			binary.BigEndian.PutUint16(payload[4:], uint16(len(payload)-6))
		}
		return [][]byte{sized(frame(s.gateway, s.mac, kind, payload))}
	}}
}

// said is a probe of a frame to a station, with the beginning of its protocol's message, and the text.
func said(name string, dst net.HardwareAddr, kind uint16, says ...byte) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		return [][]byte{sized(frame(dst, s.mac, kind, append(slices.Clone(says), text+"\n"...)))}
	}}
}

// station is a probe of a usual datagram that says to be from somebody, in a frame to and from a station.
func station(name string, p packet, to, from func(s *sender) net.HardwareAddr) frameProbe {
	return frameProbe{name: name, frames: func(s *sender, text string) [][]byte {
		return [][]byte{frame(to(s), from(s), unix.ETH_P_IP, s.ip(p, text))}
	}}
}

// group are the stations that bridges keep for themselves.
func group(last byte) net.HardwareAddr { return net.HardwareAddr{1, 0x80, 0xc2, 0, 0, last} }

// linkProbes are of other protocols than IP and ARP, and of stations that are not the guest's or the gateway's.
func linkProbes(guestGateway, otherGuest string) []frameProbe {
	own := func(s *sender) net.HardwareAddr { return s.mac }
	gateway := func(s *sender) net.HardwareAddr { return s.gateway }
	allowed := packet{dst: "11.0.0.2"}
	return []frameProbe{
		odd("tagged by a provider", func(_ *sender, f []byte) []byte { return tagged(f, 0x88, 0xa8, 0, 5) }),
		odd("tagged twice", func(_ *sender, f []byte) []byte { return tagged(f, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6) }),
		odd("tagged for its priority", func(_ *sender, f []byte) []byte { return tagged(f, 0x81, 0, 0xe0, 0) }),
		in("in MPLS", 0x8847, 0, 1, 1, 64),
		in("in a session of PPPoE", unix.ETH_P_PPP_SES, 0x11, 0, 0, 1, 0, 0, 0, 0x21),
		in("in SNAP", 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0),
		said("PPPoE discovery", everybody(), unix.ETH_P_PPP_DISC, 0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0),
		said("spanning tree", group(0), 0, slices.Concat([]byte{0x42, 0x42, 3}, make([]byte, 35))...),
		said("LLDP", group(14), unix.ETH_P_LLDP, 2, 7, 4, 2, 1, 2, 3, 4, 5),
		said("LACP", group(2), unix.ETH_P_SLOW, 1, 1, 1, 20),
		said("EAPOL", group(3), unix.ETH_P_PAE, 1, 1, 0, 0),
		said("a loop test", everybody(), unix.ETH_P_LOOPBACK, 0, 0, 1, 0),
		station("to another guest's station", packet{dst: otherGuest}, (*sender).neighbour, own),
		station("to a multicast station", allowed, func(*sender) net.HardwareAddr { return net.HardwareAddr{1, 0, 0x5e, 0, 0, 1} }, own),
		station("to the bridge's group", allowed, func(*sender) net.HardwareAddr { return group(14) }, own),
		station("as another guest", packet{src: otherGuest, dst: "11.0.0.2"}, gateway, (*sender).neighbour),
		station("as the gateway", packet{src: guestGateway, dst: otherGuest}, (*sender).neighbour, gateway),
	}
}
