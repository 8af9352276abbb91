package firecracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/channel"
	"banger/internal/model"
	"banger/internal/unixsocket"
)

// Agent opens a stream to the agent. The agent serves one at a time, so that the last one is closed first.
func (m *machine) Agent(ctx context.Context) (net.Conn, error) {
	m.hangUp(nil)
	// Its tries end with the machine too.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(m.Life(), func() { cancel(net.ErrClosed) })
	defer stop()
	conn, err := m.dial(ctx)
	if err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the guest's agent: %w", err)
	}
	m.hangUp(conn)
	if m.Life().Err() != nil { // closed meanwhile: Close may have looked before it was there
		m.hangUp(nil)
	}
	return conn, nil
}

// dial tries until the agent answers. Firecracker keeps a call that comes before the guest's driver does, so that the first
// try succeeds as a rule. One that it hangs up on found a guest without an agent, as it is while that starts again; that
// there is one no event tells.
func (m *machine) dial(ctx context.Context) (net.Conn, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		conn, err := unixsocket.Dial(ctx, filepath.Join(m.sockets, socketVsock))
		if err == nil {
			if err = call(ctx, conn); err == nil {
				return conn, nil
			}
			conn.Close()
		} else if late := net.Error(nil); !errors.As(err, &late) || !late.Timeout() {
			return nil, err // and not that ctx is over, or that the socket's queue is full
		}
		select {
		case <-time.After(pause):
		case <-m.Ended():
			return nil, errors.Join(err, net.ErrClosed)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// call asks Firecracker to connect a socket to the agent's port: CONNECT and the port, answered by OK and another number.
func call(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", channel.VsockPort); err != nil {
		return err
	}
	// Byte for byte: what follows the line is the agent's.
	var line []byte
	for b := make([]byte, 1); len(line) < 32; line = append(line, b[0]) {
		if _, err := conn.Read(b); err != nil {
			return err
		}
		if b[0] != '\n' {
			continue
		}
		if !strings.HasPrefix(string(line), "OK ") {
			break
		}
		if !stop() {
			return context.Cause(ctx)
		}
		return nil
	}
	return fmt.Errorf("Firecracker answers %q to a call of the guest", line)
}

// hangUp closes the socket of the last Agent call and remembers that of the next.
func (m *machine) hangUp(next net.Conn) {
	m.mu.Lock()
	last := m.agent
	m.agent = next
	m.mu.Unlock()
	if last != nil {
		last.Close()
	}
}
