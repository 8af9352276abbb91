package firecracker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/channel"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// caller is a machine whose VMM is any process, with answer at its vsock socket.
func caller(t *testing.T, answer func(call string, conn net.Conn)) *machine {
	t.Helper()
	dir := t.TempDir()
	l, err := unixsocket.Listen(filepath.Join(dir, socketVsock))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReaderSize(conn, 16).ReadString('\n')
			answer(line, conn)
		}
	}()
	c := exec.Command("sleep", "1000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := procs.Of(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := procs.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(dir, slog.New(slog.DiscardHandler))
	m.Adopt(handle, nil, m.why)
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if err := errors.Join(m.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		<-done
	})
	return m
}

func TestCallIsRepeated(t *testing.T) {
	t.Parallel()
	tries := 0
	m := caller(t, func(call string, conn net.Conn) {
		if call != fmt.Sprintf("CONNECT %d\n", channel.VsockPort) {
			t.Errorf("it calls with %q", call)
		}
		if tries++; tries < 4 { // nobody listens in the guest yet
			conn.Close()
			return
		}
		io.WriteString(conn, "OK 1073741824\nhello")
	})
	conn, err := m.Agent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("the stream begins with %q, %v", got, err)
	}
	// Another call ends the one before.
	next, err := m.Agent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the first stream: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := next.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the stream of a closed machine: %v", err)
	}
}

func TestCallEnds(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(net.Conn){
		"silence": func(net.Conn) {},
		"rubbish": func(c net.Conn) { io.WriteString(c, "NO\n") },
		"endless": func(c net.Conn) { io.WriteString(c, strings.Repeat("O", 100)) },
		"hang up": func(c net.Conn) { c.Close() },
	} {
		m := caller(t, func(_ string, conn net.Conn) { answer(conn) })
		enough := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, enough)
		if conn, err := m.Agent(ctx); !errors.Is(err, enough) || !errors.Is(err, model.ErrUnavailable) {
			t.Errorf("%s: %v, %v", name, conn, err)
		}
		cancel()
	}
	m := caller(t, func(_ string, conn net.Conn) { conn.Close() })
	time.AfterFunc(20*time.Millisecond, func() { _ = m.Kill(context.Background()) })
	if conn, err := m.Agent(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a dying VMM's agent: %v, %v", conn, err)
	}
}
