package qemu

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"

	"banger/internal/channel"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// process is a QEMU, our child or not.
type process interface {
	Process() model.Process
	Done() <-chan struct{}
	Kill(ctx context.Context) error
	Close() error
}

// machine is one living QEMU.
type machine struct {
	dir     string
	process process
	child   *procs.Child // nil for an adopted one
	monitor *monitor
	console *console
	words   *words // nil for an adopted one
	killed  atomic.Bool
	log     *slog.Logger
}

var (
	_ vmm.Machine  = (*machine)(nil)
	_ vmm.Consoler = (*machine)(nil)
)

func (m *machine) Process() model.Process { return m.process.Process() }
func (m *machine) Done() <-chan struct{}  { return m.process.Done() }

// Agent implements vmm.Machine.
func (m *machine) Agent(ctx context.Context) (net.Conn, error) {
	data, err := m.dial(ctx, socketData)
	if err != nil {
		return nil, err
	}
	control, err := m.dial(ctx, socketControl)
	if err != nil {
		data.Close()
		return nil, err
	}
	return channel.Dial(ctx, data, control)
}

// Kill implements vmm.Machine.
func (m *machine) Kill(ctx context.Context) error {
	m.killed.Store(true)
	return m.process.Kill(ctx)
}

// Console implements vmm.Consoler. The one reader owns the stream.
func (m *machine) Console() (io.ReadCloser, error) { return m.console, nil }

// Exit implements vmm.Machine.
func (m *machine) Exit() model.Exit {
	<-m.process.Done()
	var reason string
	if m.monitor != nil {
		<-m.monitor.done // the process is dead, so its connection ends once all that it said was read
		var panicked bool
		if reason, panicked = m.monitor.ending(); panicked {
			return model.Exit{Reason: model.ExitPanic}
		}
	}
	switch {
	case reason == "guest-shutdown":
		return model.Exit{Reason: model.ExitPowerOff}
	case reason == "guest-reset" && m.console != nil && m.console.panicked.Load():
		return model.Exit{Reason: model.ExitPanic}
	case reason == "guest-reset":
		return model.Exit{Reason: model.ExitReset}
	case reason == "guest-panic":
		return model.Exit{Reason: model.ExitPanic}
	case m.killed.Load():
		return model.Exit{Reason: model.ExitKilled}
	case m.child == nil:
		return model.Exit{Reason: model.ExitUnknown}
	}
	<-m.child.Reaped()
	if state := m.child.State(); state != nil {
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return model.Exit{Reason: model.ExitKilled}
		}
		if state.Success() {
			return model.Exit{Reason: model.ExitUnknown}
		}
	}
	return model.Exit{Reason: model.ExitCrash, Detail: m.words.String()}
}

// Close implements vmm.Machine.
func (m *machine) Close() error {
	if m.monitor != nil {
		m.monitor.close()
	}
	if m.console != nil {
		m.console.Close()
	}
	return m.process.Close()
}
