package linux

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
)

// process is one started command.
type process struct {
	stdin    io.WriteCloser
	out, err *os.File // with a terminal, out is its other side and err nil
	peer     *os.File // the command's side of its terminal; nil without
	theirs   []int    // the descriptors that the child gets, until it has them

	pid   int
	pidfd *os.File // readable once the process has ended
	over  func()   // called once it has

	mu    sync.Mutex
	ended bool // reaped: the pid is not ours any more
	exit  agent.Exit
}

// plumb makes the terminal or the pipes, and returns what the child has as its first three descriptors.
func (p *process) plumb(c agent.Command, who account) ([]uintptr, error) {
	if c.TTY {
		return p.plumbTerminal(c, who)
	}
	files := make([]uintptr, 3)
	if c.Stdin {
		r, w, err := pipe()
		if err != nil {
			return nil, err
		}
		p.theirs = append(p.theirs, r)
		files[0] = uintptr(r)
		p.stdin = ours(w, "stdin")
	} else {
		null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		p.theirs = append(p.theirs, null)
		files[0] = uintptr(null)
	}
	for i, end := range []**os.File{&p.out, &p.err} {
		r, w, err := pipe()
		if err != nil {
			return nil, err
		}
		p.theirs = append(p.theirs, w)
		files[i+1] = uintptr(w)
		*end = ours(r, "output")
	}
	for _, fd := range p.theirs {
		// Programs open /dev/stdout by name, for which the pipe must be their user's. /dev/null stays as it is.
		if c.Stdin || fd != int(files[0]) {
			_ = unix.Fchown(fd, int(who.uid), -1)
		}
	}
	return files, nil
}

func pipe() (r, w int, err error) {
	var fds [2]int
	err = unix.Pipe2(fds[:], unix.O_CLOEXEC)
	return fds[0], fds[1], err
}

// ours wraps our end of a pipe so that a wait for it holds no thread. The child's end stays as a program expects it.
func ours(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

// watch takes over a started process. pidfd becomes readable when it has ended, so that its wait holds no thread.
func (p *process) watch(pid, pidfd int) error {
	p.pid = pid
	if pidfd < 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return fmt.Errorf("this kernel has no process descriptors: at least Linux 5.4 is needed")
	}
	_ = unix.SetNonblock(pidfd, true)
	p.pidfd = os.NewFile(uintptr(pidfd), "process")
	return nil
}

// Stdin is nil when the command was started without.
func (p *process) Stdin() io.WriteCloser { return p.stdin }

// Stdout is the output, or all that goes to the terminal.
func (p *process) Stdout() agent.Reader { return p.out }

// Stderr is nil with a terminal.
func (p *process) Stderr() agent.Reader {
	if p.err == nil {
		return nil
	}
	return p.err
}

// Wait returns when the process has ended, and reaps it.
func (p *process) Wait() agent.Exit {
	raw, err := p.pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return p.reap() })
	}
	p.pidfd.Close()
	if p.over != nil {
		p.over()
	}
	if p.peer != nil {
		p.peer.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		return agent.Exit{Code: 255} // the descriptor was ours alone: this does not happen
	}
	return p.exit
}

// reap collects the process if it has ended, and says whether it has. Signals and the reaping exclude each other, so that
// no signal can reach another process that has the pid next.
func (p *process) reap() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var status unix.WaitStatus
	pid, err := unix.Wait4(p.pid, &status, unix.WNOHANG, nil)
	switch {
	case errors.Is(err, unix.EINTR) || (err == nil && pid == 0):
		return false
	case err != nil:
		p.exit = agent.Exit{Code: 255}
	case status.Signaled():
		p.exit = agent.Exit{Signal: int(status.Signal())}
	default:
		p.exit = agent.Exit{Code: status.ExitStatus()}
	}
	p.ended = true
	return true
}

// Signal sends a signal to the process alone.
func (p *process) Signal(number int) error { return p.kill(p.pid, number) }

// SignalAll sends a signal to all of its process group.
func (p *process) SignalAll(number int) error { return p.kill(-p.pid, number) }

func (p *process) kill(target, number int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	return unix.Kill(target, syscall.Signal(number))
}

// Close lets go of our ends, once the outputs have ended or when the start failed.
func (p *process) Close() error {
	for _, f := range []*os.File{p.out, p.err, p.peer} {
		if f != nil {
			f.Close() // most are closed already, at their end
		}
	}
	if c, ok := p.stdin.(*os.File); ok {
		c.Close()
	}
	return nil
}
