//go:build e2e

package e2e

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// resolution is a message of ARP, or of what looks like it. The text follows it.
type resolution struct {
	operation byte   // 0 for a question
	from      string // "" for the guest's own address
	target    string // "" for the one that the probe asks for
	change    func(s *sender, frame []byte) []byte
}

// arp is a probe of a message to all. asks says who is asked for, of whom nobody else is.
func arp(name string, asks byte, r resolution) frameProbe {
	return frameProbe{name: name, asks: asks, frames: func(s *sender, text string) [][]byte {
		from, target := s.address, s.near(asks)
		if r.from != "" {
			from = netip.MustParseAddr(r.from)
		}
		if r.target != "" {
			target = r.target
		}
		b := []byte{0, 1, 8, 0, 6, 4, 0, max(r.operation, 1)}
		b = append(append(b, s.mac...), from.AsSlice()...)
		b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(target).AsSlice()...)
		f := frame(everybody(), s.mac, unix.ETH_P_ARP, append(b, text+"\n"...))
		if r.change != nil {
			f = r.change(s, f)
		}
		return [][]byte{f}
	}}
}

func everybody() net.HardwareAddr { return net.HardwareAddr{255, 255, 255, 255, 255, 255} }

// theGateway is the one question that a guest may ask.
const theGateway = "allowed question for the gateway"

// arpProbes ask as somebody else, for somebody else, or say who is where. Who is asked for where an answer would tell are
// addresses that nobody has.
func arpProbes(guestGateway, otherGuest string) []frameProbe {
	const operation, hardware, protocol, length, station = 14 + 7, 14 + 1, 14 + 2, 14 + 4, 14 + 8
	return []frameProbe{
		arp(theGateway, 0, resolution{target: guestGateway}),
		arp("arp by another guest", 77, resolution{from: otherGuest}),
		arp("arp by nobody", 78, resolution{from: "0.0.0.0"}),
		arp("arp with another guest's station", 79, resolution{change: func(s *sender, f []byte) []byte {
			copy(f[station:], s.neighbour())
			return f
		}}),
		arp("arp from a strange station", 80, resolution{change: func(_ *sender, f []byte) []byte {
			copy(f[6:], strange())
			copy(f[station:], strange())
			return f
		}}),
		arp("arp of another hardware", 81, resolution{change: func(_ *sender, f []byte) []byte { f[hardware] = 6; return f }}),
		arp("arp of another protocol", 82, resolution{change: func(_ *sender, f []byte) []byte { f[protocol] = 0x86; return f }}),
		arp("arp of other lengths", 83, resolution{change: func(_ *sender, f []byte) []byte { f[length] = 8; return f }}),
		arp("arp tagged for its priority", 84, resolution{change: func(_ *sender, f []byte) []byte { return tagged(f, 0x81, 0, 0xe0, 0) }}),
		arp("arp for another guest", 0, resolution{target: otherGuest}),
		arp("arp for the private network", 0, resolution{target: "10.9.0.2"}),
		arp("arp to the bridge's group for the host", 0, resolution{target: "10.9.0.1", change: func(_ *sender, f []byte) []byte {
			copy(f, group(14))
			return f
		}}),
		arp("arp as the gateway", 0, resolution{operation: 2, from: guestGateway, target: guestGateway}),
		arp("arp announcing the gateway", 0, resolution{from: guestGateway, target: guestGateway}),
		arp("arp announcing another guest", 0, resolution{from: otherGuest, target: otherGuest}),
		arp("arp announcing the private network's server", 0, resolution{from: "10.9.0.2", target: "10.9.0.2"}),
		arp("arp announcing itself", 0, resolution{target: "0.0.0.0", change: func(s *sender, f []byte) []byte {
			copy(f[14+24:], s.address.AsSlice())
			return f
		}}),
		arp("arp answer to the gateway", 0, resolution{operation: 2, target: guestGateway, change: func(s *sender, f []byte) []byte {
			copy(f, s.gateway)
			copy(f[14+18:], s.gateway)
			return f
		}}),
		arp("arp answer to another guest as the gateway", 0, resolution{operation: 2, from: guestGateway, target: otherGuest, change: func(s *sender, f []byte) []byte {
			copy(f, s.neighbour())
			copy(f[14+18:], s.neighbour())
			return f
		}}),
		arp("reverse arp", 0, resolution{target: otherGuest, change: func(_ *sender, f []byte) []byte {
			f[12], f[13], f[operation] = 0x80, 0x35, 3
			return f
		}}),
	}
}
