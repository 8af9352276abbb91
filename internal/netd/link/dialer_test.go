package link

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDialer(t *testing.T) *Dialer {
	t.Helper()
	d, err := NewDialer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// dial dials in the background.
func dial(t *testing.T, d *Dialer, path string, kick <-chan struct{}) <-chan net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	got := make(chan net.Conn, 1)
	go func() {
		conn, _ := d.Dial(ctx, path, kick)
		got <- conn
	}()
	return got
}

func listenAt(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestDialWaitsForTheSocket(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	path := filepath.Join(t.TempDir(), "net.sock")
	got := dial(t, d, path, nil)
	time.Sleep(20 * time.Millisecond) // so that it waits, most of the time
	listenAt(t, path)
	if conn := <-got; conn == nil {
		t.Fatal("not connected")
	} else {
		conn.Close()
	}
}

func TestDialGetsOverADeadSocket(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	path := filepath.Join(t.TempDir(), "net.sock")
	listenAt(t, path).Close() // leaves its name
	got := dial(t, d, path, nil)
	time.Sleep(20 * time.Millisecond)
	os.Remove(path)
	listenAt(t, path)
	if conn := <-got; conn == nil {
		t.Fatal("not connected")
	} else {
		conn.Close()
	}
}

func TestDialIsKicked(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "net.sock")
	kick := make(chan struct{})
	got := dial(t, d, path, kick)
	time.Sleep(20 * time.Millisecond)
	if err := os.Mkdir(dir, 0o700); err != nil { // which nobody watches
		t.Fatal(err)
	}
	listenAt(t, path)
	kick <- struct{}{}
	if conn := <-got; conn == nil {
		t.Fatal("not connected")
	} else {
		conn.Close()
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	d := newDialer(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := d.Dial(ctx, filepath.Join(t.TempDir(), "net.sock"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(d.waiting) != 0 || len(d.dirs) != 0 {
		t.Errorf("still waits: %v, %v", d.waiting, d.dirs)
	}
}
