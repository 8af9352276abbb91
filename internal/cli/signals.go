package cli

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"banger/client"
)

// signals are those that reach this process while it runs something for a guest.
type signals chan os.Signal

// catchAll has every signal that a command could mean sent to us. SIGPIPE is among them so that a reader who has left is
// an error of the write, not our death.
func (a *app) catchAll() (s signals, stop func()) {
	s = make(signals, 32)
	stop = a.catch(s, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGPIPE)
	return s, stop
}

// asksToEnd says whether a signal asks us to leave off what we are doing ourselves.
func asksToEnd(s os.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	}
	return false
}

// endedBy is the exit of a process that a signal ended.
func endedBy(s os.Signal) error { return &statusError{128 + number(s)} }

func number(s os.Signal) int {
	n, _ := s.(syscall.Signal)
	return int(n)
}

// interruptible runs f and, when a signal asks us to end, cancels its context. f's values are returned in any case, the
// signal's error instead of f's. Signals that ask for something else are there for whoever comes next.
func interruptible[T any](ctx context.Context, s signals, f func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type ending struct {
		value T
		err   error
	}
	done := make(chan ending, 1)
	go func() {
		v, err := f(ctx)
		done <- ending{v, err}
	}()
	var by os.Signal
	var others []os.Signal
	defer func() { s.putBack(others) }()
	for {
		select {
		case e := <-done:
			if by != nil { // also when f was done in that moment: its context is over, and whoever signaled means it
				e.err = endedBy(by)
			}
			return e.value, e.err
		case sig := <-s:
			switch {
			case !asksToEnd(sig):
				others = append(others, sig)
			case by == nil:
				by = sig
				cancel()
			}
		}
	}
}

// putBack makes signals be received again, as far as there is room: the kernel promises no more.
func (s signals) putBack(list []os.Signal) {
	for _, sig := range list {
		select {
		case s <- sig:
		default:
		}
	}
}

// await shows an operation's progress and returns how it ended. A signal that asks us to end cancels the operation, whose
// end is still waited for; a second one leaves at once. Then the error is the signal's, whatever the operation came to.
func (a *app) await(ctx context.Context, op *client.Operation, s signals, label string) (client.Result, error) {
	p := a.startProgress(label)
	defer p.stop()
	type ending struct {
		result client.Result
		err    error
	}
	done := make(chan ending, 1)
	go func() {
		result, err := op.Wait(p.event)
		done <- ending{result, err}
	}()
	var by os.Signal
	for {
		select {
		case e := <-done:
			if by != nil && (e.err == nil || errors.Is(e.err, client.ErrCanceled)) {
				e.err = endedBy(by)
			}
			return e.result, e.err
		case sig := <-s:
			switch {
			case !asksToEnd(sig):
			case by != nil:
				return client.Result{}, endedBy(sig)
			default:
				by = sig
				go func() { _ = op.Cancel(ctx) }()
			}
		}
	}
}

// impatience counts the signals of somebody who wants to leave a command that does not end: three within two seconds of
// each other.
type impatience struct {
	count int
	last  time.Time
}

func (i *impatience) over(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGTERM {
		return false
	}
	if time.Since(i.last) > 2*time.Second {
		i.count = 0
	}
	i.count, i.last = i.count+1, time.Now()
	return i.count >= 3
}
