package bridge

import (
	"net/netip"
	"testing"
)

// TestWhoIsAskedForNames is never the bridge itself, whose address systemd-resolved lists among the others while it is there.
func TestWhoIsAskedForNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"192.0.2.1": true, "8.8.8.8": true, "127.0.0.53": false, "0.0.0.0": false, "224.0.0.1": false, "198.18.64.1": false, "198.19.0.1": false,
	} {
		if forwards(netip.MustParseAddr(text)) != want {
			t.Errorf("%s: %t", text, !want)
		}
	}
}
