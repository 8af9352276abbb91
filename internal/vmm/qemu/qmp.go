package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"banger/internal/vmm/process"
)

// maxQMPLine caps what is read of one message. The longest that this driver can cause is some 300 bytes.
const maxQMPLine = 64 << 10

// qmpWriteTimeout is how long a monitor may leave a command unread; commands are small and far apart.
const qmpWriteTimeout = 10 * time.Second

// qmp is a connection to QEMU's monitor.
type qmp struct {
	conn  net.Conn
	event func(name string, data json.RawMessage) // called from one goroutine
	dead  chan struct{}                           // closed when nothing more will be read

	mu      sync.Mutex
	next    int
	pending map[int]chan qmpMessage
}

type qmpMessage struct {
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// newQMP owns conn and reads it until it ends or is closed.
func newQMP(conn net.Conn, event func(string, json.RawMessage)) *qmp {
	q := &qmp{conn: conn, event: event, dead: make(chan struct{}), pending: map[int]chan qmpMessage{}}
	go q.read()
	return q
}

func (q *qmp) read() {
	defer close(q.dead)
	defer q.conn.Close()
	r := bufio.NewReaderSize(q.conn, maxQMPLine)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil { // an overlong line too: whatever speaks there is no monitor
			return
		}
		var m qmpMessage
		if json.Unmarshal(line, &m) != nil {
			return
		}
		switch {
		case m.Event != "":
			q.event(m.Event, m.Data)
		case m.Return != nil || m.Error != nil:
			q.mu.Lock()
			answer := q.pending[m.ID]
			delete(q.pending, m.ID)
			q.mu.Unlock()
			if answer != nil {
				answer <- m
			}
		}
	}
}

// execute sends a command and waits for its answer until ctx or the connection ends.
func (q *qmp) execute(ctx context.Context, command string) (json.RawMessage, error) {
	answer := make(chan qmpMessage, 1)
	if err := q.send(command, answer); err != nil {
		return nil, fmt.Errorf("cannot ask QEMU to %s: %w", command, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return nil, fmt.Errorf("cannot make QEMU %s: %s", command, process.Printable(m.Error.Desc))
		}
		return m.Return, nil
	case <-q.dead:
		return nil, fmt.Errorf("cannot make QEMU %s: %w", command, net.ErrClosed)
	case <-ctx.Done():
		return nil, fmt.Errorf("cannot wait for QEMU to %s: %w", command, context.Cause(ctx))
	}
}

func (q *qmp) send(command string, answer chan qmpMessage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	q.pending[q.next] = answer
	line, err := json.Marshal(struct {
		Execute string `json:"execute"`
		ID      int    `json:"id"`
	}{command, q.next})
	if err == nil {
		err = q.conn.SetWriteDeadline(time.Now().Add(qmpWriteTimeout))
	}
	if err == nil {
		_, err = q.conn.Write(append(line, '\n'))
	}
	if err != nil {
		delete(q.pending, q.next)
	}
	return err
}

// negotiate makes the monitor take commands. A VM that does not run and waits for somebody to let it, which only a
// hand at its monitor can have made, is let.
func (q *qmp) negotiate(ctx context.Context) error {
	if _, err := q.execute(ctx, "qmp_capabilities"); err != nil {
		return err
	}
	raw, err := q.execute(ctx, "query-status")
	if err != nil {
		return err
	}
	var status struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(raw, &status); err != nil {
		return fmt.Errorf("cannot read QEMU's status: %w", err)
	}
	if status.Status == "prelaunch" || status.Status == "paused" {
		_, err = q.execute(ctx, "cont")
	}
	return err
}

// close ends the connection and waits for the reader.
func (q *qmp) close() error {
	err := q.conn.Close()
	<-q.dead
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
