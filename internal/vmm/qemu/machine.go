package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"

	"banger/internal/channel"
	"banger/internal/model"
	"banger/internal/unixsocket"
	"banger/internal/vmm/process"
)

// machine is one living QEMU, started or adopted.
type machine struct {
	*process.Machine
	dir    string
	qmp    *qmp             // nil when it could not be reached
	con    *process.Console // likewise
	stderr *process.Tail    // nil when adopted

	ready chan struct{} // closed when QEMU has answered on its monitor

	mu       sync.Mutex
	agent    []net.Conn // the agent's sockets, of the last Agent call
	shutdown string     // the reason that QEMU gave for its end
}

func newMachine(dir string, log *slog.Logger) *machine {
	return &machine{Machine: process.NewMachine(log), dir: dir, ready: make(chan struct{})}
}

// connect reaches the monitor and the console. It tries once: a VMM that hangs must not hold who looks for it.
func (m *machine) connect(ctx context.Context) error {
	monitor, err := unixsocket.Dial(ctx, filepath.Join(m.dir, socketMonitor))
	if err == nil {
		m.qmp = newQMP(monitor, m.event)
	}
	con, err2 := unixsocket.Dial(ctx, filepath.Join(m.dir, socketConsole))
	if err2 == nil {
		m.con = process.NewConsole(con)
	}
	return errors.Join(err, err2)
}

// heard negotiates with the monitor and returns what must have ended before it is known why QEMU died.
func (m *machine) heard() (all []<-chan struct{}) {
	if m.qmp != nil {
		m.Go(func() {
			if err := m.qmp.negotiate(m.Life()); err == nil {
				close(m.ready)
			} else if m.Life().Err() == nil {
				m.Log().Debug("QEMU's monitor does not answer", "error", err)
			}
		})
		all = append(all, m.qmp.dead)
	}
	if m.con != nil {
		all = append(all, m.con.Ended())
	}
	if m.stderr != nil {
		all = append(all, m.stderr.Ended())
	}
	return all
}

// event takes what the monitor tells. Of several reasons the first is the cause.
func (m *machine) event(name string, data json.RawMessage) {
	if name != "SHUTDOWN" {
		return
	}
	var d struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(data, &d) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shutdown == "" {
		m.shutdown = d.Reason
	}
}

// Console hands over the console's reader, once.
func (m *machine) Console() (io.ReadCloser, error) {
	if m.con == nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the VM's console")
	}
	return m.con.Take()
}

// Agent opens a stream to the agent. QEMU serves one connection per port, so that the last one is closed first.
func (m *machine) Agent(ctx context.Context) (net.Conn, error) {
	m.hangUp(nil)
	data, err := dial(ctx, m.dir, socketData)
	if err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the guest's agent: %w", err)
	}
	control, err := dial(ctx, m.dir, socketControl)
	if err != nil {
		data.Close()
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the guest's agent: %w", err)
	}
	m.hangUp([]net.Conn{data, control})
	if m.Life().Err() != nil { // closed meanwhile: Close may have looked before these were there
		m.hangUp(nil)
	}
	return channel.Dial(ctx, data, control)
}

// hangUp closes the sockets of the last Agent call and remembers those of the next.
func (m *machine) hangUp(next []net.Conn) {
	m.mu.Lock()
	last := m.agent
	m.agent = next
	m.mu.Unlock()
	for _, c := range last {
		c.Close()
	}
}

// Close lets go of the VMM without disturbing it. Twice is fine.
func (m *machine) Close() error {
	m.End()
	m.hangUp(nil)
	if m.qmp != nil {
		_ = m.qmp.close()
	}
	if m.con != nil {
		m.con.Close()
	}
	if m.stderr != nil {
		m.stderr.Close()
	}
	return m.Machine.Close()
}
