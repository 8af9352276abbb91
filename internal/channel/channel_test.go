package channel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ports are the two virtio-serial ports of one guest: host processes come and go on one side, the guest's stays.
type ports struct {
	t             *testing.T
	data, control *port
	listener      *Listener
}

// port is a guest's port over socket pairs, one per host.
type port struct {
	net.Conn // the guest's end
	host     net.Conn
}

func socketpair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if conns[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return conns[0], conns[1]
}

func newPorts(t *testing.T) *ports {
	t.Helper()
	p := &ports{t: t, data: &port{}, control: &port{}}
	for _, one := range []*port{p.data, p.control} {
		one.Conn, one.host = socketpair(t)
	}
	p.listener = Listen(p.data, p.control)
	t.Cleanup(func() {
		p.listener.Close()
		p.data.host.Close()
		p.control.host.Close()
	})
	return p
}

// hostEnd is what a host process holds: closing it leaves the port open, and what was sent in its queue, as QEMU does.
type hostEnd struct {
	net.Conn
	mu     sync.Mutex
	closed bool
}

func (h *hostEnd) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return h.Conn.SetDeadline(time.Unix(1, 0))
}

func (h *hostEnd) SetDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	return h.Conn.SetDeadline(t)
}

func (h *hostEnd) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

func (p *ports) host() (data, control *hostEnd) {
	for _, one := range []*port{p.data, p.control} {
		if err := one.host.SetDeadline(time.Time{}); err != nil {
			p.t.Fatal(err)
		}
	}
	return &hostEnd{Conn: p.data.host}, &hostEnd{Conn: p.control.host}
}

// echo serves each stream by sending back what comes, until the listener is closed.
func (p *ports) echo() {
	done := make(chan struct{})
	p.t.Cleanup(func() {
		p.listener.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
}

func (p *ports) dial() net.Conn {
	p.t.Helper()
	data, control := p.host()
	conn, err := Dial(p.t.Context(), data, control)
	if err != nil {
		p.t.Fatalf("Dial: %v", err)
	}
	return conn
}

// check sends text and expects it back, whole and alone.
func check(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		sent <- err
	}()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := <-sent; err != nil {
		t.Fatalf("write: %v", err)
	}
	if string(got) != text {
		t.Fatalf("got %.100q back, want %.100q", got, text)
	}
}

func TestStreamIsCleanFromTheFirstByte(t *testing.T) {
	t.Parallel()
	p := newPorts(t)
	p.echo()
	check(t, p.dial(), strings.Repeat("hello\nbanger-sync \x00", 20_000))
}

func TestNextHostFindsNothingOfTheLast(t *testing.T) {
	t.Parallel()
	p := newPorts(t)
	p.echo()
	for range 20 {
		conn := p.dial()
		check(t, conn, "complete")
		// A frame that is cut off: its echo is left in the queues, unread.
		if _, err := io.WriteString(conn, strings.Repeat("half a frame", 500)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	check(t, p.dial(), "clean")
}

func TestStaleBytesAreSkipped(t *testing.T) {
	t.Parallel()
	nonce := strings.Repeat("0", 32)
	for _, c := range []struct{ name, toGuest, toHost, onControl string }{
		{"rubbish", "\x00\xffrubbish", "\x00\xff\n\n", "\x00"},
		{"half a line", "banger-syn", "banger-ready 12", "banger-reset 00"},
		{"an earlier handshake", string(line(verbSync, nonce)) + string(line(verbGo, nonce)), string(line(verbHeard, nonce)) + string(line(verbReady, nonce)), string(line(verbReset, nonce))},
		{"a line without end", strings.Repeat("x", 60_000), strings.Repeat("y", 60_000), strings.Repeat("z", 60_000)},
		{"a bad nonce", "\nbanger-sync zz\n", "\nbanger-ready " + strings.Repeat("Z", 32) + "\n", "\nbanger-reset \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPorts(t)
			for _, w := range []struct {
				to   net.Conn
				text string
			}{{p.data.host, c.toGuest}, {p.data.Conn, c.toHost}, {p.control.host, c.onControl}} {
				if _, err := io.WriteString(w.to, w.text); err != nil {
					t.Fatal(err)
				}
			}
			p.echo()
			check(t, p.dial(), "clean")
		})
	}
}

// cutConn fails after so many bytes written: a host that dies at that point.
type cutConn struct {
	net.Conn
	left *int
}

var errCut = errors.New("cut")

func (c cutConn) Write(b []byte) (int, error) {
	n := min(len(b), *c.left)
	*c.left -= n
	if m, err := c.Conn.Write(b[:n]); err != nil || n < len(b) {
		return m, errors.Join(err, errCut)
	}
	return n, nil
}

func TestHostMayDieAtEachByteOfTheHandshake(t *testing.T) {
	t.Parallel()
	p := newPorts(t)
	p.echo()
	survived := false
	for cut := 0; !survived; cut++ {
		data, control := p.host()
		left := cut
		conn, err := Dial(t.Context(), cutConn{data, &left}, cutConn{control, &left})
		switch {
		case err == nil:
			survived = true
			conn.Close()
		case !errors.Is(err, errCut):
			t.Fatalf("cut after %d bytes: %v", cut, err)
		case !data.isClosed() || !control.isClosed():
			t.Fatalf("cut after %d bytes: the sockets stay open", cut)
		}
		if cut%7 == 0 {
			conn := p.dial()
			check(t, conn, "clean")
			conn.Close()
		}
	}
	check(t, p.dial(), "clean")
}

func TestResetEndsTheLastStream(t *testing.T) {
	t.Parallel()
	p := newPorts(t)
	first := p.acceptOne(t)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, first) // it may still be given the next host's first words
		ended <- err
	}()
	second := p.acceptOne(t)
	if err := <-ended; err != nil {
		t.Errorf("read of the first stream: %v, want its end", err)
	}
	if _, err := first.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write to the first stream: %v, want ErrClosed", err)
	}
	// What the first stream's user does now must not disturb the second.
	first.SetDeadline(time.Unix(1, 0))
	first.Close()
	if _, err := second.Write([]byte("fine")); err != nil {
		t.Errorf("write to the second stream: %v", err)
	}
}

// acceptOne returns the guest's end of a stream that a host has dialed.
func (p *ports) acceptOne(t *testing.T) net.Conn {
	t.Helper()
	data, control := p.host()
	dialed := make(chan error, 1)
	go func() {
		_, err := Dial(t.Context(), data, control)
		dialed <- err
	}()
	conn, err := p.listener.Accept()
	if err := errors.Join(err, <-dialed); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := newPorts(t) // nobody accepts
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	data, control := p.host()
	go func() {
		io.ReadFull(p.data.Conn, make([]byte, 10)) // the handshake has begun
		cancel(reason)
	}()
	if _, err := Dial(ctx, data, control); !errors.Is(err, reason) {
		t.Fatalf("Dial: %v, want the cause", err)
	}
	if !data.isClosed() || !control.isClosed() {
		t.Error("the sockets stay open")
	}
}

func TestFloodIsGivenUpOn(t *testing.T) {
	t.Parallel()
	data, guest := socketpair(t)
	control, other := socketpair(t)
	defer other.Close()
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		for block := bytes.Repeat([]byte("y\n"), 1<<15); ; {
			if _, err := guest.Write(block); err != nil {
				return
			}
		}
	}()
	if _, err := Dial(t.Context(), data, control); !errors.Is(err, errJunk) {
		t.Errorf("Dial: %v, want %v", err, errJunk)
	}
	<-flood // the sockets were closed
	guest.Close()
}

func TestListenerEndsWithItsPorts(t *testing.T) {
	t.Parallel()
	p := newPorts(t)
	accepted := make(chan error, 1)
	go func() {
		_, err := p.listener.Accept()
		accepted <- err
	}()
	p.control.host.Close()
	if err := <-accepted; !errors.Is(err, io.EOF) {
		t.Errorf("Accept after the control port's end: %v, want EOF", err)
	}
	q := newPorts(t)
	go func() {
		_, err := q.listener.Accept()
		accepted <- err
	}()
	q.listener.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v, want ErrClosed", err)
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 3, 7, 64, 1000} {
		stream := []byte("half\nwhole line\n" + strings.Repeat("long", 50) + "\n\nend\n")
		var scan lines
		var got []string
		for len(stream) > 0 {
			piece := stream[:min(size, len(stream))]
			stream = stream[len(piece):]
			for len(piece) > 0 {
				text, rest, ok := scan.next(piece)
				if ok {
					got = append(got, text)
				}
				piece = rest
			}
		}
		if want := "half|whole line||end"; strings.Join(got, "|") != want {
			t.Errorf("pieces of %d: %q, want %q", size, got, want)
		}
	}
}
