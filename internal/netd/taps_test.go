package netd

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	netdv1 "banger/api/netd/v1"
	"banger/internal/dirs"
	"banger/internal/netd/netdtest"
	"banger/internal/testenv"
	"banger/internal/unixsocket"
)

// hand sends a message with a descriptor, or without for a negative one, and returns the answer.
func hand(t *testing.T, d dirs.Dirs, id string, fd int) string {
	t.Helper()
	conn, err := unixsocket.Dial(t.Context(), d.NetdTaps())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	if _, _, err := conn.WriteMsgUnix([]byte(id), rights, nil); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if errors.Is(err, unix.ECONNRESET) {
		return "reset" // with a part of the message unread
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// TestTapsAreHandedOver checks who may hand over what, and that a port says whether it wants a tap.
func TestTapsAreHandedOver(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t) // a packet socket needs it here
	state, d := stateDir(t)
	if _, said := start(t, state); said != "ready" {
		t.Fatalf("netd says %q", said)
	}
	rpc, _ := dialService(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	packet, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(packet)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	m := description(netdtest.New(t, 2, testMTU), "box", "public")
	m.Socket = d.State + "/net"
	set := func(tap *netdv1.Tap) bool {
		t.Helper()
		m.Tap = tap
		answer, err := rpc.Set(ctx, &netdv1.SetRequest{Port: m})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetWantsTap()
	}
	ours := &netdv1.Tap{Name: "banger", Pid: 7, StartTime: 1, BootId: "x"}
	if set(nil) {
		t.Error("a port without a tap wants one")
	}
	if answer := hand(t, d, "id-box", packet); !strings.Contains(answer, "no port") {
		t.Errorf("a port that has no tap: %q", answer)
	}
	if !set(ours) || !set(nil) {
		t.Error("a port that was told of a tap does not want it")
	}
	for name, c := range map[string]struct {
		id string
		fd int
	}{
		"another VM": {"id-other", packet}, "no descriptor": {"id-box", -1}, "a file": {"id-box", int(null.Fd())},
		"no id": {"\x00", packet}, "a long id": {strings.Repeat("x", 1000), packet},
	} {
		if answer := hand(t, d, c.id, c.fd); answer == "ok" || answer == "" {
			t.Errorf("%s: %q", name, answer)
		}
	}
	if !set(nil) {
		t.Error("what was refused counts as a tap")
	}
	if answer := hand(t, d, "id-box", packet); answer != "ok" {
		t.Fatalf("the packet socket is refused: %q", answer)
	}
	if set(ours) || set(nil) {
		t.Error("a port that has its tap wants it again")
	}
	if info, err := os.Lstat(m.Socket); err != nil || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("nobody listens in the VMM's place: %v, %v", info, err)
	}
	if !set(&netdv1.Tap{Name: "banger", Pid: 8, StartTime: 1, BootId: "x"}) {
		t.Error("another VMM's tap is taken for the first one's")
	}
	if _, err := rpc.Clear(ctx, &netdv1.ClearRequest{VmId: "id-box"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(m.Socket); err == nil {
		t.Error("a port that is gone left its socket")
	}
	for _, bad := range []*netdv1.Tap{{Name: "a/b", Pid: 7}, {Name: "banger"}, {Name: "banger", Pid: -1}, {Pid: 7}} {
		m.Tap = bad
		if _, err := rpc.Set(ctx, &netdv1.SetRequest{Port: m}); err == nil {
			t.Errorf("%v is taken for a tap", bad)
		}
	}
}
