package linux

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestParseListeners(t *testing.T) {
	t.Parallel()
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, c := range map[string]struct {
		table string
		want  []uint16
	}{
		"any":            {"   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n", []uint16{8080}},
		"its address":    {"   0: 020012C6:0050 00000000:0000 0A 0:0\n", []uint16{80}},
		"loopback":       {"   0: 0100007F:0016 00000000:0000 0A 0:0\n   1: 3500007F:0035 00000000:0000 0A 0:0\n", nil},
		"connected":      {"   0: 00000000:1F90 00000000:1234 01 0:0\n", nil},
		"any of 6":       {"   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0:0\n", []uint16{3000}},
		"loopback of 6":  {"   0: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 0:0\n", nil},
		"mapped":         {"   0: 0000000000000000FFFF00000100007F:0BB8 00000000000000000000000000000000:0000 0A 0:0\n", nil},
		"mapped address": {"   0: 0000000000000000FFFF0000020012C6:0BB8 00000000000000000000000000000000:0000 0A 0:0\n", []uint16{3000}},
		"rubbish":        {"   0: zz:0BB8 x 0A\n 1: 00000000 x 0A\n 2: 00000000:FFFFF x 0A\n3: 00000000:0000 x 0A\n\n", nil},
	} {
		if got := parseListeners(strings.NewReader(head + c.table)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestListenersOfThisMachine(t *testing.T) {
	t.Parallel()
	// A child that another test starts has the listener, too, until its exec.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	now, err := listeners()
	if err != nil || !slices.Contains(now, port) {
		t.Errorf("%d is not in %v, %v", port, now, err)
	}
	l.Close()
	if now, err = listeners(); err != nil || slices.Contains(now, port) {
		t.Errorf("%d is still in %v, %v", port, now, err)
	}
}
