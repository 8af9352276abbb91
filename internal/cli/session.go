package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"banger/client"
)

// session is a command in a guest with our standard streams.
type session struct {
	app     *app
	exec    *client.Exec
	term    *terminal
	tty     bool // the command has a terminal
	timeout time.Duration
	left    atomic.Pointer[os.Signal] // the signal on which we left the command to itself
}

// attach runs r with our standard streams until it ends, and returns its exit code.
func (a *app) attach(ctx context.Context, c *client.Client, r client.ExecRequest, sigs signals) (code int, err error) {
	s := &session{app: a, term: newTerminal(a.In), tty: r.TTY, timeout: r.Timeout}
	if r.TTY {
		r.Rows, r.Cols = s.term.size()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.exec, err = interruptible(ctx, sigs, func(starting context.Context) (*client.Exec, error) {
		defer context.AfterFunc(starting, cancel)() // the command's own context outlives its start
		return c.Exec(ctx, r)
	})
	if err != nil {
		return 0, err
	}
	defer s.exec.Close()
	defer s.term.restore()
	if r.TTY && r.Stdin {
		if err := s.term.raw(); err != nil {
			return 0, fmt.Errorf("cannot use the terminal: %w", err)
		}
	}
	if r.Stdin {
		go s.feed()
	}
	over := make(chan struct{})
	defer close(over)
	go s.forward(sigs, over)
	return s.drain()
}

// feed sends our input until its end. It is left behind in its read when the command ends first.
func (s *session) feed() {
	defer s.term.guard()
	buf := make([]byte, 32<<10)
	for {
		n, err := s.app.In.Read(buf)
		if n > 0 && s.exec.Stdin(buf[:n]) != nil {
			return
		}
		if err != nil { // a terminal that is gone counts as the end too
			_ = s.exec.CloseStdin()
			return
		}
	}
}

// forward passes signals on. It is a goroutine of its own: a signal may have to wait for the guest.
func (s *session) forward(sigs signals, over <-chan struct{}) {
	defer s.term.guard()
	var i impatience
	for {
		select {
		case <-over:
			return
		case sig := <-sigs:
			if i.over(sig) {
				s.left.Store(&sig)
				_ = s.exec.Close()
				return
			}
			s.pass(sig)
		}
	}
}

func (s *session) pass(sig os.Signal) {
	switch sig {
	case syscall.SIGPIPE:
	case syscall.SIGCONT: // a shell may have changed the terminal while we were stopped
		if s.term.isRaw() {
			_ = s.term.raw()
			s.resize()
		}
	case syscall.SIGWINCH:
		if !s.tty { // without a terminal of its own the command is told as of any other signal
			_ = s.exec.Signal(number(sig))
			return
		}
		s.resize()
	default:
		_ = s.exec.Signal(number(sig))
	}
}

func (s *session) resize() {
	if rows, cols := s.term.size(); rows > 0 {
		_ = s.exec.Resize(rows, cols)
	}
}

// drain writes what the command says to our outputs until it has said everything.
func (s *session) drain() (code int, err error) {
	var exit *client.ExitStatus
	for {
		out, err := s.exec.Recv()
		switch {
		case errors.Is(err, io.EOF) && exit != nil:
			return s.ended(*exit), nil
		case errors.Is(err, io.EOF):
			return 0, fmt.Errorf("%w: the command's connection ended before the command had", client.ErrUnavailable)
		case err != nil && s.left.Load() != nil:
			return 0, endedBy(*s.left.Load())
		case err != nil:
			return 0, err
		}
		if out.Exit != nil {
			exit = out.Exit
		}
		if err := s.write(out); err != nil {
			return 0, err
		}
	}
}

func (s *session) write(out client.Output) error {
	_, err := s.app.Out.Write(out.Stdout)
	if err == nil && len(out.Stderr) > 0 {
		_, err = s.app.Err.Write(out.Stderr)
	}
	if errors.Is(err, syscall.EPIPE) {
		// Our reader has left. The command gets what it would get from a pipe, and so does our caller.
		_ = s.exec.Signal(int(syscall.SIGPIPE))
		return endedBy(syscall.SIGPIPE)
	}
	if err != nil {
		return fmt.Errorf("cannot write the command's output: %w", err)
	}
	return nil
}

func (s *session) ended(e client.ExitStatus) int {
	s.term.restore()
	if e.Message != "" {
		s.app.say(e.Message)
	} else if e.TimedOut {
		s.app.say(fmt.Sprintf("the command was ended after %s", s.timeout))
	}
	return e.Code
}
