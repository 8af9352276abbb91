package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxQMPLine caps one message of the monitor; ours are some hundred bytes.
const maxQMPLine = 256 << 10

// monitor is a connection to QEMU's machine protocol (QEMU's docs/interop/qmp-spec).
type monitor struct {
	conn net.Conn
	done chan struct{} // closed when the connection ended

	mu       sync.Mutex
	replies  chan reply
	shutdown string // reason of the SHUTDOWN event, or ""
	panicked bool
}

type reply struct {
	result json.RawMessage
	err    error
}

// message is anything that QEMU says.
type message struct {
	Greeting json.RawMessage `json:"QMP"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// openMonitor speaks first with a monitor whose connection may still wait to be accepted. It owns conn.
func openMonitor(ctx context.Context, conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, done: make(chan struct{}), replies: make(chan reply, 1)}
	go m.read()
	if err := m.do(ctx, "qmp_capabilities"); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) read() {
	defer close(m.done)
	lines := bufio.NewScanner(io.Reader(m.conn))
	lines.Buffer(make([]byte, 0, 4<<10), maxQMPLine)
	for lines.Scan() {
		var msg message
		if err := json.Unmarshal(lines.Bytes(), &msg); err != nil {
			return
		}
		switch {
		case msg.Event == "SHUTDOWN":
			m.mu.Lock()
			m.shutdown = msg.Data.Reason
			m.mu.Unlock()
		case msg.Event == "GUEST_PANICKED":
			m.mu.Lock()
			m.panicked = true
			m.mu.Unlock()
		case msg.Error != nil:
			m.deliver(reply{err: fmt.Errorf("QEMU says: %s", msg.Error.Desc)})
		case msg.Return != nil:
			m.deliver(reply{result: msg.Return})
		}
	}
}

func (m *monitor) deliver(r reply) {
	select {
	case m.replies <- r:
	default: // an answer that nobody waits for any more
	}
}

// do runs a command without arguments. Commands are run one at a time.
func (m *monitor) do(ctx context.Context, command string) error {
	_, err := m.ask(ctx, command)
	return err
}

func (m *monitor) ask(ctx context.Context, command string) (json.RawMessage, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = m.conn.SetWriteDeadline(deadline)
	} else {
		_ = m.conn.SetWriteDeadline(time.Time{})
	}
	if _, err := fmt.Fprintf(m.conn, "{\"execute\":%q}\n", command); err != nil {
		return nil, fmt.Errorf("cannot ask QEMU: %w", err)
	}
	select {
	case r := <-m.replies:
		return r.result, r.err
	case <-m.done:
		return nil, errors.New("QEMU closed its monitor")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ending returns what the monitor learnt of the guest's end.
func (m *monitor) ending() (reason string, panicked bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shutdown, m.panicked
}

func (m *monitor) close() {
	m.conn.Close()
	<-m.done
}
