package port

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostDialReachesNoBroadcast uses the one broadcast address that every host has.
func TestHostDialReachesNoBroadcast(t *testing.T) {
	t.Parallel()
	conn, err := HostDial(t.Context(), "udp4", "127.255.255.255:9")
	if conn != nil {
		conn.Close()
	}
	if !errors.Is(err, unix.EACCES) {
		t.Errorf("%v, not %v", err, unix.EACCES)
	}
	conn, err = HostDial(t.Context(), "udp4", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
