package netcall_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/helper/netcall"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
)

// TestATapIsHandedOver has one that works, that nobody else gets, and that the helper does not keep: it outlives the helper
// that opened it.
func TestATapIsHandedOver(t *testing.T) {
	needNetwork(t)
	l, path := servetest.Listen(t)
	helper := apart(t, l)
	c, id := netcall.New(path, model.NewInstanceID()), model.NewVMID()
	port, err := c.Attach(t.Context(), id, hostSlot, policy(t, "public"))
	if err != nil {
		t.Fatal(err)
	}
	tap, err := c.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tap.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Control(func(fd uintptr) {
		request, err := unix.NewIfreq("")
		if err == nil {
			err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, request)
		}
		flags, ferr := unix.FcntlInt(fd, unix.F_GETFD, 0)
		if err != nil || ferr != nil || request.Name() != port.Tap || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("it is %q, %v; flags %d, %v", request.Name(), err, flags, ferr)
		}
	}); err != nil {
		t.Error(err)
	}
	if f, err := c.Open(t.Context(), id); !errors.Is(err, model.ErrState) {
		t.Errorf("a second holder: %v, %v", f, err)
	}
	// A frame that is sent is taken, and a read waits instead of blocking a thread: it ends with the file.
	if _, err := tap.Write(make([]byte, 10+60)); err != nil {
		t.Errorf("a frame: %v", err)
	}
	if err := tap.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Errorf("it cannot be waited for: %v", err)
	}
	kill(helper)
	next := apart(t, l)
	t.Cleanup(func() { kill(next); _ = l.Close() })
	found, err := c.List(t.Context())
	if err != nil || len(found.Ports) != 1 || found.Ports[0].Tap != port.Tap || !found.Ports[0].Ruled {
		t.Errorf("the next helper finds %+v, %v", found, err)
	}
	if again, err := c.Attach(t.Context(), id, hostSlot, policy(t, "none")); err != nil || again.Tap != port.Tap {
		t.Errorf("attached again: %+v, %v", again, err)
	}
	if _, err := tap.Write(make([]byte, 10+60)); err != nil {
		t.Errorf("a frame, later: %v", err)
	}
	if err := tap.Close(); err != nil {
		t.Error(err)
	}
	var f *os.File
	if f, err = c.Open(t.Context(), id); err != nil {
		t.Errorf("after its holder's end: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Detach(t.Context(), id); err != nil {
		t.Error(err)
	}
	nothingLeft(t, c)
}

const hostSlot = 1021 // the last there is
