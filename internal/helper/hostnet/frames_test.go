package hostnet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

const portRecord = 9000

// recorder keeps what datagrams of a port said.
type recorder struct {
	mu   sync.Mutex
	said map[string]bool
}

func (r *recorder) listen(t *testing.T, s *space, addresses ...string) {
	t.Helper()
	s.do(func() {
		for _, a := range addresses {
			u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), portRecord)))
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { u.Close() })
			go func() {
				buf := make([]byte, 2000)
				for {
					n, err := u.Read(buf)
					if err != nil {
						return
					}
					r.mu.Lock()
					r.said[string(buf[:n])] = true
					r.mu.Unlock()
				}
			}()
		}
	})
}

func (r *recorder) heard(text string, within time.Duration) bool {
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		heard := r.said[text]
		r.mu.Unlock()
		if heard || time.Now().After(end) {
			return heard
		}
	}
}

// frame is a datagram of a guest that may lie.
type frame struct {
	from, to net.HardwareAddr
	kind     uint16
	tag      []byte // between the addresses and the type
	src, dst netip.Addr
	options  []byte
	fragment uint16
}

func (f frame) bytes(text string) []byte {
	var header [10]byte // of the device's: nothing is left to it
	b := append(append(append([]byte{}, header[:]...), f.to...), f.from...)
	b = binary.BigEndian.AppendUint16(append(b, f.tag...), f.kind)
	udp := 8 + len(text)
	head := 20 + len(f.options)
	ip := []byte{0x40 | byte(head/4), 0, 0, 0, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(head+udp))
	binary.BigEndian.PutUint16(ip[6:], f.fragment)
	ip = append(append(append(ip, f.src.AsSlice()...), f.dst.AsSlice()...), f.options...)
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum&0xffff+sum>>16))
	b = append(b, ip...)
	b = binary.BigEndian.AppendUint16(b, 1234)
	b = binary.BigEndian.AppendUint16(b, portRecord)
	b = binary.BigEndian.AppendUint16(b, uint16(udp))
	return append(append(b, 0, 0), text...) // a checksum of zero is none
}

// TestFrames sends what no honest guest sends. Nothing of it arrives anywhere.
func TestFrames(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	n := h.installation(t)
	a, b := h.attach(t, n, 1, "open"), h.attach(t, n, 2, "open")
	r := recorder{said: map[string]bool{}}
	r.listen(t, h.far, internet, private)
	r.listen(t, h.space, "0.0.0.0")
	r.listen(t, b.space, "0.0.0.0")
	gateway := model.HardwareAddress(n.o.Instance, 0)
	honest := frame{from: a.port.MAC, to: gateway, kind: unix.ETH_P_IP, src: a.port.Address, dst: netip.MustParseAddr(internet)}
	local := honest
	local.dst = netip.MustParseAddr(hostPublic)
	for name, test := range map[string]struct {
		frame   frame
		arrives bool
		change  func(f *frame)
	}{
		"honest":                        {honest, true, nil},
		"honest, to the host":           {local, true, nil},
		"another hardware address":      {honest, false, func(f *frame) { f.from = b.port.MAC }},
		"the gateway's":                 {honest, false, func(f *frame) { f.from = gateway }},
		"another guest's address":       {honest, false, func(f *frame) { f.src = b.port.Address }},
		"the gateway's address":         {local, false, func(f *frame) { f.src = a.port.Gateway }},
		"the host's address":            {local, false, func(f *frame) { f.src = netip.MustParseAddr(hostPrivate) }},
		"a loopback address":            {local, false, func(f *frame) { f.src = netip.MustParseAddr("127.0.0.1") }},
		"to the loopback":               {local, false, func(f *frame) { f.dst = netip.MustParseAddr("127.0.0.1") }},
		"to the gateway":                {local, false, func(f *frame) { f.dst = a.port.Gateway }},
		"to everybody":                  {local, false, func(f *frame) { f.to = net.HardwareAddr{255, 255, 255, 255, 255, 255} }},
		"to the broadcast address":      {local, false, func(f *frame) { f.dst = netip.MustParseAddr("255.255.255.255") }},
		"to the broadcast of the range": {local, false, func(f *frame) { f.dst = lastOf(a.port.Gateway) }},
		"to a bridge's own address":     {local, false, func(f *frame) { f.to = net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e} }},
		"to many":                       {local, false, func(f *frame) { f.to = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1} }},
		"to the tap's own address":      {local, false, func(f *frame) { f.to = tapMAC(t, h, a.port.Tap) }},
		"straight to another guest":     {honest, false, func(f *frame) { f.to, f.dst = b.port.MAC, b.port.Address }},
		"another guest by the gateway":  {honest, false, func(f *frame) { f.dst = b.port.Address }},
		"with options":                  {honest, false, func(f *frame) { f.options = []byte{7, 3, 4, 0} }},
		"as IPv6":                       {honest, false, func(f *frame) { f.kind = unix.ETH_P_IPV6 }},
		"in a VLAN":                     {honest, false, func(f *frame) { f.tag = []byte{0x81, 0, 0, 0} }},
		"in a provider's VLAN":          {honest, false, func(f *frame) { f.tag = []byte{0x88, 0xa8, 0, 5} }},
		"half of it":                    {honest, false, func(f *frame) { f.fragment = 0x2000 }},
	} {
		f := test.frame
		if test.change != nil {
			test.change(&f)
		}
		if _, err := a.tap.Write(f.bytes(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		limit := 200 * time.Millisecond
		if test.arrives {
			limit = 5 * time.Second
		}
		if got := r.heard(name, limit); got != test.arrives {
			t.Errorf("%s: arrived is %v", name, got)
		}
	}
}

func tapMAC(t *testing.T, h host, name string) (mac net.HardwareAddr) {
	t.Helper()
	h.do(func() {
		i, err := net.InterfaceByName(name)
		if err != nil {
			t.Error(err)
			return
		}
		mac = i.HardwareAddr
	})
	return mac
}

// lastOf is the last address of an installation's part of the range.
func lastOf(gateway netip.Addr) netip.Addr {
	b := netip.PrefixFrom(gateway, rangeBits).Masked().Addr().As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], b[2] + 3, 255})
}
