package servetest

import (
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/wire"
)

// Call is one that somebody hostile makes: bytes, with descriptors.
type Call struct {
	Name  string
	Data  []byte
	Files []*os.File
	Kind  error // of the answer; nil for none that must come
}

// Hostile returns one.
func Hostile(name string, data []byte, files []*os.File, kind error) Call {
	return Call{Name: name, Data: data, Files: files, Kind: kind}
}

// Encode is the bytes of a message.
func Encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Send makes the call and returns the error that is answered; answered is false when the connection ends without one.
func (c Call) Send(t *testing.T, socket string) (err error, answered bool) {
	t.Helper()
	conn, derr := net.DialUnix(wire.Network, nil, &net.UnixAddr{Name: socket, Net: wire.Network})
	if derr != nil {
		t.Fatal(derr)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var rights []byte
	if len(c.Files) > 0 {
		fds := make([]int, len(c.Files))
		for i, f := range c.Files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix(c.Data, rights, nil); err != nil && !wire.Gone(err) {
		t.Fatalf("%s: %v", c.Name, err)
	}
	var answer helperv1.Answer
	files, err := wire.Receive(conn, &answer)
	if len(files) > 0 {
		wire.Close(files)
		t.Errorf("%s: %d descriptors came", c.Name, len(files))
	}
	if err != nil {
		if !wire.Gone(err) {
			t.Fatalf("%s: %v", c.Name, err)
		}
		return nil, false
	}
	if _, err := conn.Read(make([]byte, 1)); !wire.Gone(err) { // by then the service has closed all that it had of the call
		t.Fatalf("%s: after the answer: %v", c.Name, err)
	}
	if answer.GetFailure() == nil {
		return nil, true
	}
	return wire.FromFailure(answer.GetFailure()), true
}

// HaveNoEffect makes hostile calls, and then a fair one, which must have the one effect of all. What host returns must stay
// the same, and no descriptor of this process, which serves at the socket, be left open: no other test may run meanwhile.
func HaveNoEffect(t *testing.T, socket string, effects *atomic.Int64, host func(*testing.T) string, calls []Call, fair []byte) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would close what is forgotten
	before, was := descriptors(t), host(t)
	for _, c := range calls {
		err, answered := c.Send(t, socket)
		switch {
		case answered && err == nil:
			t.Errorf("%s: was done", c.Name)
		case c.Kind != nil && !errors.Is(err, c.Kind):
			t.Errorf("%s: got %v, want %v", c.Name, err, c.Kind)
		}
	}
	if n := effects.Load(); n != 0 {
		t.Errorf("%d of %d calls had an effect", n, len(calls))
	}
	if is := host(t); is != was {
		t.Errorf("the host has\n%s\nand had\n%s", is, was)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, before the calls there were %d", after, before)
	}
	err, answered := Call{Name: "a fair one", Data: fair}.Send(t, socket)
	if err != nil || !answered || effects.Load() != 1 {
		t.Errorf("a fair call: %v, answered %t, %d effects", err, answered, effects.Load())
	}
	t.Logf("%d hostile calls", len(calls))
	if len(calls) < 60 {
		t.Errorf("only %d hostile calls", len(calls))
	}
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
