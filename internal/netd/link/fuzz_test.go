package link

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func testPinned() pinned {
	return pinned{mac: MAC{2, 0xaa, 0, 0, 0, 2}, address: [4]byte{198, 18, 0, 2}}
}

// frame is one that passes.
func frame(payload ...byte) []byte {
	p, us := testPinned(), GatewayMAC()
	b := append(append(us[:], p.mac[:]...), 8, 0)
	ip := make([]byte, ipv4Size, ipv4Size+len(payload))
	copy(ip, "\x45\x00\x00\x00\x00\x00\x00\x00\x40\x11\x00\x00")
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Size+len(payload)))
	copy(ip[12:], p.address[:])
	copy(ip[16:], []byte{93, 184, 216, 34})
	h := header.IPv4(ip)
	h.SetChecksum(^h.CalculateChecksum())
	return append(append(b, ip...), payload...)
}

func arpFrame() []byte {
	p := testPinned()
	b := append([]byte{255, 255, 255, 255, 255, 255}, p.mac[:]...)
	b = append(b, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"...)
	b = append(append(b, p.mac[:]...), p.address[:]...)
	return append(b, 0, 0, 0, 0, 0, 0, 198, 18, 0, 1)
}

func seeds() [][]byte {
	good := frame(1, 2, 3, 4, 5, 6, 7, 8)
	list := [][]byte{nil, {0}, make([]byte, 11), make([]byte, 14), good, arpFrame(), good[:20], good[:33], arpFrame()[:30]}
	for _, at := range []int{0, 5, 6, 11, 12, 13, 14, 16, 17, 20, 23, 26, 30, 33} {
		b := slices.Clone(good)
		b[at] ^= 0xff
		list = append(list, b)
	}
	return list
}

func TestInspect(t *testing.T) {
	t.Parallel()
	p := testPinned()
	if got := p.inspect(frame(1)); got != kindIPv4 {
		t.Errorf("a good packet is %v", got)
	}
	if got := p.inspect(arpFrame()); got != kindARP {
		t.Errorf("a good request is %v", got)
	}
	passed := 0
	for _, s := range seeds() {
		if p.inspect(s) != kindDropped {
			passed++
		}
	}
	// The good ones, and those whose changed byte does not matter: none, since a checksum guards the header.
	if passed != 2 {
		t.Errorf("%d seeds pass", passed)
	}
}

// FuzzInspect holds what passes to its promise, whatever it looks like.
func FuzzInspect(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	p := testPinned()
	f.Fuzz(func(t *testing.T, b []byte) {
		switch p.inspect(b) {
		case kindARP:
			reply := p.replyARP(b)
			if MAC(b[6:12]) != p.mac || MAC(reply[:6]) != p.mac || len(reply) != 42 {
				t.Errorf("%x was answered by %x", b, reply)
			}
		case kindIPv4:
			packet := b[ethernetSize:]
			total := int(binary.BigEndian.Uint16(packet[2:]))
			if MAC(b[6:12]) != p.mac || MAC(b[:6]) != GatewayMAC() || [4]byte(packet[12:16]) != p.address || total > len(packet) || packet[0] != 0x45 {
				t.Errorf("passed: %x", b)
			}
			_ = Packet(packet[:total]).Payload()
		}
	})
}

// FuzzStream reads any bytes as frames: it ends, and delivers nothing that does not pass.
func FuzzStream(f *testing.F) {
	for _, s := range seeds() {
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...))
	}
	f.Add([]byte{255, 255, 255, 255, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 255, 255, 1, 2, 3})
	p := testPinned()
	f.Fuzz(func(t *testing.T, stream []byte) {
		e := New(Options{MAC: p.mac, Address: netip.AddrFrom4(p.address), MTU: 1500, Divert: func(packet Packet) bool {
			if [4]byte(packet[12:16]) != p.address || len(packet) > 1500 {
				t.Errorf("delivered: %x", []byte(packet))
			}
			return len(packet)%2 == 0 // the others go to a stack that is not there
		}})
		ours, theirs := net.Pipe()
		go func() {
			theirs.SetDeadline(time.Now().Add(10 * time.Second))
			theirs.Write(stream)
			theirs.Close()
		}()
		if err := e.readLoop(ours); err == nil {
			t.Error("the end of a stream is no error")
		}
		ours.Close()
	})
}

func TestWriteFrames(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	q := newQueue()
	q.setOpen(true)
	done := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- q.writeLoop(ours, testPinned().mac, done) }()
	q.put(outgoing{raw: []byte("a packet")})
	q.put(outgoing{raw: []byte("a frame"), framed: true})
	us, mac := GatewayMAC(), testPinned().mac
	want := append([]byte{0, 0, 0, 22}, mac[:]...)
	want = append(append(append(want, us[:]...), 8, 0), "a packet\x00\x00\x00\x07a frame"...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
	close(done)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestQueueIsCapped(t *testing.T) {
	t.Parallel()
	q := newQueue()
	if q.put(outgoing{raw: make([]byte, 10)}) {
		t.Error("taken while nobody is connected")
	}
	q.setOpen(true)
	fill := func(peer bool) (taken int) {
		for q.put(outgoing{raw: make([]byte, 60000), peer: peer}) {
			taken++
		}
		return taken
	}
	peers := fill(true)
	own := fill(false)
	if size := 60000 + frameOverhead; peers != maxQueuedPeer/size || own != maxQueued/size-peers || own < peers {
		t.Errorf("%d of other VMs and %d others were taken", peers, own)
	}
	batch := q.take(make([]outgoing, 0, batchSize))
	if len(batch) != batchSize || !q.put(outgoing{raw: make([]byte, 60000), peer: true}) {
		t.Errorf("%d came out; there should be room again", len(batch))
	}
	q.setOpen(false)
	if q.bytes != 0 || len(q.frames) != 0 {
		t.Errorf("%d bytes are left of the last connection", q.bytes)
	}
}
