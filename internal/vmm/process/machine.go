package process

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"syscall"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

// Machine is the process of one living VMM, started or adopted: what every driver's machine does with it. A driver's
// machine embeds it, adds what it hears of the VMM, and says in the end why it died.
type Machine struct {
	handle held
	child  *procs.Child // nil when adopted
	log    *slog.Logger

	done   chan struct{}      // closed when it is dead and exit is known
	life   context.Context    //nolint:containedctx // ends with Close: what the goroutines run under
	end    context.CancelFunc // of life
	worker sync.WaitGroup

	mu     sync.Mutex
	exit   model.Exit // how, once done is closed
	killed bool       // Kill was called
}

// held is what a machine does to its VMM: a procs.Handle, or a procs.Child, which reaps it too.
type held interface {
	Process() model.Process
	Done() <-chan struct{}
	Kill(context.Context) error
	Close() error
}

// NewMachine returns a machine that holds no process yet.
func NewMachine(log *slog.Logger) *Machine {
	m := &Machine{log: log, done: make(chan struct{})}
	m.life, m.end = context.WithCancel(context.Background())
	return m
}

// Adopt begins to watch a VMM that somebody else started. From now on m owns handle.
func (m *Machine) Adopt(handle *procs.Handle, heard []<-chan struct{}, why func() model.Exit) {
	m.hold(handle, heard, why)
}

// AdoptEndedBy is Adopt of a VMM of a user whom this process may not signal: kill ends it.
func (m *Machine) AdoptEndedBy(kill func(context.Context) error, handle *procs.Handle, heard []<-chan struct{}, why func() model.Exit) {
	m.hold(endedBy{handle, kill}, heard, why)
}

// Born begins to watch a VMM that this process started. When it is dead, and each of heard is closed, which is when no more
// will be known of it, why says how it ended.
func (m *Machine) Born(child *procs.Child, heard []<-chan struct{}, why func() model.Exit) {
	m.child = child
	m.hold(child, append(heard, child.Reaped()), why)
}

func (m *Machine) hold(handle held, heard []<-chan struct{}, why func() model.Exit) {
	m.handle = handle
	m.worker.Go(func() {
		select {
		case <-handle.Done():
		case <-m.life.Done():
			return
		}
		for _, ended := range heard {
			<-ended
		}
		exit := why()
		m.mu.Lock()
		m.exit = exit
		m.mu.Unlock()
		close(m.done)
	})
}

// Life ends when the machine is closed.
func (m *Machine) Life() context.Context { return m.life }

// Log is where what happens to the machine is told.
func (m *Machine) Log() *slog.Logger { return m.log }

// Go runs work that Close waits for; it must end with Life.
func (m *Machine) Go(work func()) { m.worker.Go(work) }

// Process names the VMM.
func (m *Machine) Process() model.Process { return m.handle.Process() }

// Ended is closed when the process is dead, which is before Done.
func (m *Machine) Ended() <-chan struct{} { return m.handle.Done() }

// Done is closed when the VMM is dead.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Exit says why, once Done is closed.
func (m *Machine) Exit() model.Exit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exit
}

// Killed says whether Kill was called.
func (m *Machine) Killed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

// Kill ends the VMM at once and returns when it is dead.
func (m *Machine) Kill(ctx context.Context) error {
	m.mu.Lock()
	m.killed = true
	m.mu.Unlock()
	crash.At("process.kill.before")
	if err := m.handle.Kill(ctx); err != nil {
		return err
	}
	crash.At("process.kill.after")
	select { // death is a fact; this only lets Exit be known when it can be
	case <-m.done:
	case <-m.life.Done():
	case <-ctx.Done():
	}
	return nil
}

// End lets the machine's goroutines end; the streams that they read are the caller's to close, before Close.
func (m *Machine) End() { m.end() }

// Close lets go of the VMM without disturbing it. Twice is fine.
func (m *Machine) Close() error {
	m.end()
	m.worker.Wait()
	if m.handle == nil {
		return nil
	}
	return m.handle.Close()
}

// Status is how a VMM that this process started ended, by its exit status alone: with an exit code of zero or more, or by a
// signal, of which exit then tells, with its last words; code is -1 then. ok is false when it is not known, as it never is
// of an adopted one.
func (m *Machine) Status(words string) (exit model.Exit, code int, ok bool) {
	if m.child == nil || m.child.State() == nil {
		return model.Exit{}, 0, false
	}
	if s, isStatus := m.child.State().Sys().(syscall.WaitStatus); isStatus && s.Signaled() {
		reason := model.ExitKilled
		switch s.Signal() {
		case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT, syscall.SIGILL, syscall.SIGFPE, syscall.SIGSYS, syscall.SIGTRAP:
			reason = model.ExitCrash // SIGSYS is a sandbox's
		}
		return model.Exit{Reason: reason, Detail: Join(s.Signal().String(), words)}, -1, true
	}
	return model.Exit{}, m.child.State().ExitCode(), true
}

// Join puts a reason and the words that go with it, if any, together.
func Join(reason, words string) string {
	if words == "" {
		return reason
	}
	return reason + ": " + words
}

// Listener returns the process that listens on the socket that conn is connected to, or nobody.
func Listener(conn net.Conn) model.Process {
	_, pid, err := unixsocket.PeerCred(conn)
	if err != nil {
		return model.Process{}
	}
	p, err := procs.Of(pid)
	if err != nil {
		return model.Process{}
	}
	return p
}
