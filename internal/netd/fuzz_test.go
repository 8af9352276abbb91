package netd

import (
	"bytes"
	"net"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// FuzzPackets gives a whole port packets that pass the filter and are anything within, and asks whether it still lives.
func FuzzPackets(f *testing.F) {
	w := newWorld(f)
	g := w.guest(2, "box", "open")
	us, self := net.HardwareAddr("\x02bnetd"), g.Address.String()
	for _, to := range []string{"93.184.216.34", "198.18.0.1", "198.18.0.9"} {
		for protocol, payload := range map[uint8][]byte{6: tcpSYN(80), 17: udpTo(53), 1: echoRequest(), 50: nil} {
			whole := ip4(self, to, protocol, payload)
			f.Add(whole)
			f.Add(whole[:20+len(payload)/2])
			part := bytes.Clone(whole)
			header.IPv4(part).SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 8)
			f.Add(part)
		}
	}
	f.Add(ip4(self, "198.18.0.1", 17, append(udpTo(53), "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"...)))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) >= 20 {
			packet = bytes.Clone(packet)
			packet[0] = 0x45
			copy(packet[12:16], g.Address.AsSlice())
			h := header.IPv4(packet)
			h.SetTotalLength(uint16(min(len(packet), testMTU)))
			h.SetChecksum(0)
			h.SetChecksum(^h.CalculateChecksum())
		}
		g.Forget()
		g.Frame(ethernet(us, g.MAC, 0x0800, packet))
		g.Frame(ethernet(us, g.MAC, 0x0806, arpRequest(g.MAC, self, "198.18.0.1")))
		if g.Await(20*time.Second, func(b []byte) bool { return b[12] == 8 && b[13] == 6 }) == nil {
			t.Fatalf("no answer after %x", packet)
		}
	})
}
