package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"banger/test/lab/wire"
)

// escape ends the lab from the keyboard, whatever it does: Ctrl-].
const escape = 0x1d

// execute runs one line in a fresh lab.
func execute(ctx context.Context, o options, args []string) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("which command?")
	}
	return with(ctx, o, func(l *lab, s *setup, keep *results) (int, error) {
		limited, cancel := context.WithTimeoutCause(ctx, o.limit+lostAfter+time.Minute, errors.New("the lab let it run past its limit"))
		defer cancel()
		before := l.cpu()
		done, err := l.do(limited, wire.Request{Op: wire.OpExec, Command: strings.Join(args, " "), Limit: o.limit, Env: s.env()}, os.Stdout, keep)
		fmt.Fprintf(os.Stderr, "lab: the command took %.1f s, %.1f s of a processor\n", done.Took.Seconds(), (l.cpu() - before).Seconds())
		switch {
		case err != nil:
			return 1, err
		case done.Over:
			return 124, fmt.Errorf("the command was ended after %v", o.limit)
		case done.Text != "":
			return done.Code, errors.New(done.Text)
		}
		return done.Code, nil
	})
}

// with boots a lab for one thing and takes it away.
func with(ctx context.Context, o options, do func(*lab, *setup, *results) (int, error)) (code int, err error) {
	s, err := prepare(ctx, o.payload, false)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	keep, err := newResults(s.cache)
	if err != nil {
		return 1, err
	}
	l, err := s.boot(ctx, keep)
	if err != nil {
		return 1, err
	}
	defer l.stop()
	fmt.Fprintf(os.Stderr, "lab: %s\n", l.booted)
	return do(l, s, keep)
}

// shell gives this terminal to a shell in the lab. Input that is no terminal is typed as it comes.
func shell(ctx context.Context, o options) (int, error) {
	return with(ctx, o, func(l *lab, _ *setup, keep *results) (int, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		r := wire.Request{Op: wire.OpShell, Term: "dumb"}
		if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
			fmt.Fprintln(os.Stderr, "lab: a shell; exit ends the lab, and so does Ctrl-]")
			r.Term = os.Getenv("TERM")
			r.Rows, r.Cols = size(fd)
			before, err := term.MakeRaw(fd)
			if err != nil {
				return 1, err
			}
			defer func() { _ = term.Restore(fd, before) }()
			defer watchSize(l, fd)()
		}
		shown := make(chan struct{})
		go func() {
			defer close(shown)
			_, _ = io.Copy(os.Stdout, l.tty)
		}()
		go func() {
			if typeAll(l.tty, os.Stdin) {
				cancel(errors.New("ended by Ctrl-]"))
			}
		}()
		done, err := l.do(ctx, r, nil, keep)
		select { // what it said last may still be on its way
		case <-shown:
		case <-time.After(200 * time.Millisecond):
		}
		return done.Code, err
	})
}

// typeAll passes on what is typed; it says whether the escape was. The end of the input is one for the shell, too.
func typeAll(to io.Writer, from io.Reader) (escaped bool) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		before, _, found := bytes.Cut(buf[:n], []byte{escape})
		if _, werr := to.Write(before); werr != nil || found {
			return found
		}
		if err != nil {
			_, _ = to.Write([]byte{4})
			return false
		}
	}
}

func size(fd int) (rows, cols uint16) {
	w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return w.Row, w.Col
}

// watchSize tells the lab of each change of the terminal's size, until the returned function is called.
func watchSize(l *lab, fd int) (stop func()) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	go func() {
		for range changes {
			rows, cols := size(fd)
			if l.conn.Send(wire.Request{Op: wire.OpResize, Rows: rows, Cols: cols}) != nil {
				return
			}
		}
	}()
	return func() {
		signal.Stop(changes)
		close(changes)
	}
}
