package testenv

import (
	"net"
	"testing"
)

// ListenBoth listens on the loopback for TCP and for UDP at one number, which is free for both, until the test ends.
func ListenBoth(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	const tries = 100 // of numbers that are free for one
	for range tries {
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp4", tcp.Addr().String())
		if err != nil {
			tcp.Close()
			continue
		}
		t.Cleanup(func() { tcp.Close(); udp.Close() })
		return tcp, udp
	}
	t.Fatalf("of %d numbers none is free for TCP and for UDP", tries)
	return nil, nil
}
