package vmmtest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// fakeMachine is one living fake VMM.
type fakeMachine struct {
	dir     string
	handle  heldProcess
	child   *procs.Child // nil when adopted
	monitor net.Conn     // nil when it could not be reached
	console net.Conn     // likewise

	running chan struct{} // closed when it says that the guest runs
	said    chan struct{} // closed when the monitor will say no more
	done    chan struct{}
	closed  chan struct{}
	once    sync.Once
	worker  sync.WaitGroup

	mu     sync.Mutex
	agent  net.Conn // of the last Agent call
	last   string   // the reason that it gave for its end
	killed bool
	exit   model.Exit
}

type heldProcess interface {
	Process() model.Process
	Done() <-chan struct{}
	Kill(context.Context) error
	Close() error
}

func newFakeMachine(dir string) *fakeMachine {
	return &fakeMachine{
		dir: dir, running: make(chan struct{}), said: make(chan struct{}), done: make(chan struct{}), closed: make(chan struct{}),
	}
}

func (m *fakeMachine) connect(ctx context.Context) error {
	monitor, err := unixsocket.Dial(ctx, filepath.Join(m.dir, fakeMonitor))
	if err != nil {
		return err
	}
	m.monitor = monitor
	m.worker.Go(m.listen)
	console, err := unixsocket.Dial(ctx, filepath.Join(m.dir, fakeConsole))
	if err != nil {
		return err
	}
	m.console = console
	return nil
}

// listen hears what the VMM says of itself: running, and how it ends.
func (m *fakeMachine) listen() {
	defer close(m.said)
	lines := bufio.NewScanner(m.monitor)
	for lines.Scan() {
		if lines.Text() == "running" {
			close(m.running)
			continue
		}
		m.mu.Lock()
		m.last = lines.Text()
		m.mu.Unlock()
	}
}

func (m *fakeMachine) hold(handle heldProcess) {
	m.handle = handle
	m.worker.Go(func() {
		select {
		case <-handle.Done():
		case <-m.closed:
			return
		}
		if m.monitor != nil {
			<-m.said
		}
		if m.child != nil {
			<-m.child.Reaped()
		}
		m.mu.Lock()
		m.exit = m.why()
		m.mu.Unlock()
		close(m.done)
	})
}

func (m *fakeMachine) why() model.Exit {
	reason, detail, _ := strings.Cut(m.last, " ")
	switch reason {
	case "poweroff":
		return model.Exit{Reason: model.ExitPowerOff}
	case "reset":
		return model.Exit{Reason: model.ExitReset}
	case "panic":
		return model.Exit{Reason: model.ExitPanic, Detail: detail}
	case "failed":
		return model.Exit{Reason: model.ExitCrash, Detail: detail}
	}
	if m.killed {
		return model.Exit{Reason: model.ExitKilled}
	}
	if m.child != nil && m.child.State() != nil {
		if s, ok := m.child.State().Sys().(syscall.WaitStatus); ok && s.Signaled() {
			return model.Exit{Reason: model.ExitKilled, Detail: s.Signal().String()}
		}
		return model.Exit{Reason: model.ExitCrash, Detail: m.child.State().String()}
	}
	return model.Exit{Reason: model.ExitUnknown}
}

func (m *fakeMachine) started(ctx context.Context) error {
	select {
	case <-m.running:
		return nil
	case <-m.done:
	case <-ctx.Done():
		return model.Errorf(model.ErrCanceled, "cannot start the VM: %w", context.Cause(ctx))
	}
	select {
	case <-m.running: // it ran, and is over already
		return nil
	default:
		return model.Errorf(model.ErrUnavailable, "cannot start the VM: %s", m.Exit())
	}
}

func (m *fakeMachine) Process() model.Process { return m.handle.Process() }
func (m *fakeMachine) Done() <-chan struct{}  { return m.done }

func (m *fakeMachine) Exit() model.Exit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

func (m *fakeMachine) Kill(ctx context.Context) error {
	m.mu.Lock()
	m.killed = true
	m.mu.Unlock()
	if err := m.handle.Kill(ctx); err != nil {
		return err
	}
	select {
	case <-m.done:
	case <-m.closed:
	case <-ctx.Done():
	}
	return nil
}

// Agent connects; the fake serves one connection, the newest.
func (m *fakeMachine) Agent(ctx context.Context) (net.Conn, error) {
	conn, err := unixsocket.Dial(ctx, filepath.Join(m.dir, fakeAgent))
	if err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the guest's agent: %w", err)
	}
	m.mu.Lock()
	last := m.agent
	m.agent = conn
	m.mu.Unlock()
	if last != nil {
		last.Close()
	}
	// Like the handshake of a real channel: the fake greets with one byte once it serves this connection, and a guest
	// that never does holds the call until ctx ends.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	_, err = io.ReadFull(conn, make([]byte, 1))
	if !stop() || err != nil {
		conn.Close()
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the guest's agent: %w", errors.Join(context.Cause(ctx), err))
	}
	return conn, nil
}

func (m *fakeMachine) Console() (io.ReadCloser, error) {
	if m.console == nil {
		return nil, model.Errorf(model.ErrUnavailable, "cannot reach the VM's console")
	}
	return m.console, nil
}

func (m *fakeMachine) Close() error {
	m.once.Do(func() {
		close(m.closed)
		m.mu.Lock()
		conns := []net.Conn{m.agent, m.monitor, m.console}
		m.mu.Unlock()
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	})
	m.worker.Wait()
	if m.handle == nil {
		return nil
	}
	return m.handle.Close()
}
