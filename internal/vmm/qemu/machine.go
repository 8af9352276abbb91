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
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// machine is one living QEMU, started or adopted.
type machine struct {
	dir    string
	log    *slog.Logger
	handle process
	child  *procs.Child // nil when adopted
	qmp    *qmp         // nil when it could not be reached
	con    *console     // likewise
	stderr *stderr      // nil when adopted

	ready  chan struct{}      // closed when QEMU has answered on its monitor
	done   chan struct{}      // closed when it is dead and exit is known
	exit   model.Exit         // how, once done is closed
	life   context.Context    //nolint:containedctx // ends with Close: what the goroutines run under
	end    context.CancelFunc // of life
	worker sync.WaitGroup

	mu       sync.Mutex
	agent    []net.Conn // the agent's sockets, of the last Agent call
	shutdown string     // the reason that QEMU gave for its end
	killed   bool       // Kill was called
}

// process is what a machine does to its VMM: a procs.Handle, or a procs.Child, which reaps it too.
type process interface {
	Process() model.Process
	Done() <-chan struct{}
	Kill(context.Context) error
	Close() error
}

func newMachine(dir string, log *slog.Logger) *machine {
	m := &machine{dir: dir, log: log, ready: make(chan struct{}), done: make(chan struct{})}
	m.life, m.end = context.WithCancel(context.Background())
	return m
}

// connect reaches the monitor and the console. It tries once: a VMM that hangs must not hold who looks for it.
func (m *machine) connect(ctx context.Context) error {
	monitor, err := unixsocket.Dial(ctx, filepath.Join(m.dir, socketMonitor))
	if err == nil {
		m.qmp = newQMP(monitor, m.event)
	}
	con, err2 := unixsocket.Dial(ctx, filepath.Join(m.dir, socketConsole))
	if err2 == nil {
		m.con = newConsole(con)
	}
	return errors.Join(err, err2)
}

// hold begins to watch the VMM. From now on m owns handle.
func (m *machine) hold(handle process) {
	m.handle = handle
	if m.qmp != nil {
		m.worker.Go(func() {
			if err := m.qmp.negotiate(m.life); err == nil {
				close(m.ready)
			} else if m.life.Err() == nil {
				m.log.Debug("QEMU's monitor does not answer", "error", err)
			}
		})
	}
	m.worker.Go(m.watch)
}

// watch waits for the VMM's death, then for the last words, which the kernel has by then.
func (m *machine) watch() {
	select {
	case <-m.handle.Done():
	case <-m.life.Done():
		return
	}
	if m.qmp != nil {
		<-m.qmp.dead
	}
	if m.con != nil {
		<-m.con.ended
	}
	if m.stderr != nil {
		<-m.stderr.ended
	}
	if m.child != nil {
		<-m.child.Reaped()
	}
	m.mu.Lock()
	m.exit = m.why()
	m.mu.Unlock()
	close(m.done)
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

// Process names the VMM.
func (m *machine) Process() model.Process { return m.handle.Process() }

// Done is closed when the VMM is dead.
func (m *machine) Done() <-chan struct{} { return m.done }

// Exit says why, once Done is closed.
func (m *machine) Exit() model.Exit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

// Kill ends the VMM at once and returns when it is dead.
func (m *machine) Kill(ctx context.Context) error {
	m.mu.Lock()
	m.killed = true
	m.mu.Unlock()
	if err := m.handle.Kill(ctx); err != nil {
		return err
	}
	select { // death is a fact; this only lets Exit be known when it can be
	case <-m.done:
	case <-m.life.Done():
	case <-ctx.Done():
	}
	return nil
}

// Console hands over the console's reader, once.
func (m *machine) Console() (io.ReadCloser, error) {
	if m.con == nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the VM's console")
	}
	return m.con.take()
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
	if m.life.Err() != nil { // closed meanwhile: Close may have looked before these were there
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
	m.end()
	m.hangUp(nil)
	if m.qmp != nil {
		_ = m.qmp.close()
	}
	if m.con != nil {
		m.con.close()
	}
	if m.stderr != nil {
		m.stderr.close()
	}
	m.worker.Wait()
	if m.handle == nil {
		return nil
	}
	return m.handle.Close()
}
