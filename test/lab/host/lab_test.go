package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"banger/test/lab/wire"
)

// fakeLab is a lab whose other end is the test.
func fakeLab(t *testing.T) (l *lab, inside *wire.Conn, serial net.Conn) {
	t.Helper()
	l, theirs, serial := fakePorts(t)
	return l, wire.NewConn(theirs), serial
}

func fakePorts(t *testing.T) (l *lab, theirs, serial net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	console, serial := net.Pipe()
	m := &machine{wire: ours, console: readConsole(console, io.Discard), done: make(chan struct{})}
	l = watch(m)
	t.Cleanup(func() {
		theirs.Close()
		serial.Close()
		<-m.console.ended
	})
	return l, theirs, serial
}

func TestDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, inside, _ := fakeLab(t)
		go func() {
			var r wire.Request
			if err := inside.Receive(&r); err != nil || r.Op != wire.OpExec {
				t.Errorf("%+v, %v", r, err)
			}
			for range 5 { // longer than it may be silent
				time.Sleep(lostAfter - time.Second)
				_ = inside.Send(wire.Event{Kind: wire.KindBeat})
			}
			_ = inside.Send(wire.Event{Kind: wire.KindOutput, Text: "said"})
			_ = inside.Send(wire.Event{Kind: wire.KindDone, Code: 7})
		}()
		var out strings.Builder
		done, err := l.do(t.Context(), wire.Request{Op: wire.OpExec}, &out, nil)
		if err != nil || done.Code != 7 || out.String() != "said" {
			t.Errorf("%+v, %v, %q", done, err, out.String())
		}
	})
}

func TestLost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(inside *wire.Conn, serial net.Conn)
		reason  string
	}{
		"frozen": {func(*wire.Conn, net.Conn) {}, "has not been heard of"},
		"frozen, and its console is not": {func(_ *wire.Conn, serial net.Conn) {
			for range 20 {
				time.Sleep(20 * time.Second)
				_, _ = io.WriteString(serial, "[1.0] watchdog: BUG: soft lockup\n")
			}
		}, "has not been heard of"},
		"panicked": {func(_ *wire.Conn, serial net.Conn) {
			_, _ = io.WriteString(serial, "[1.0] Kernel panic - not")
			_, _ = io.WriteString(serial, " syncing: Fatal exception\n")
		}, "panicked"},
		"booted again": {func(inside *wire.Conn, _ net.Conn) {
			_ = inside.Send(wire.Event{Kind: wire.KindHello})
		}, "has booted again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, inside, serial := fakeLab(t)
				over := make(chan struct{})
				go func() {
					defer close(over)
					test.happens(inside, serial)
				}()
				_, err := l.wait(t.Context(), wire.KindDone, nil, nil)
				<-over
				var gone lost
				if !errors.As(err, &gone) || !strings.Contains(gone.reason, test.reason) {
					t.Errorf("%v, not a loss because it %s", err, test.reason)
				}
			})
		})
	}
}

// TestASilentLabIsWoken has one whose processor misses all but what it is sent.
func TestASilentLabIsWoken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, theirs, _ := fakePorts(t)
		begin := time.Now()
		go func() {
			var word [8]byte
			for i := range 3 {
				n, err := theirs.Read(word[:])
				if at := time.Since(begin); err != nil || string(word[:n]) != "\n" || at != time.Duration(i+1)*wakeAfter {
					t.Errorf("sent %q, %v after %v", word[:n], err, at)
				}
			}
			if err := wire.NewConn(theirs).Send(wire.Event{Kind: wire.KindDone, Code: 7}); err != nil {
				t.Error(err)
			}
		}()
		if done, err := l.wait(t.Context(), wire.KindDone, nil, nil); err != nil || done.Code != 7 {
			t.Errorf("%+v, %v", done, err)
		}
	})
}

// TestNotLost: the end of QEMU and an interrupt are no reasons to repeat anything.
func TestNotLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := fakeLab(t)
		l.err = errors.New("QEMU has ended")
		close(l.done)
		var gone lost
		if _, err := l.wait(t.Context(), wire.KindDone, nil, nil); !errors.Is(err, l.err) || errors.As(err, &gone) {
			t.Error(err)
		}
		l, _, _ = fakeLab(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.wait(ctx, wire.KindDone, nil, nil); !errors.Is(err, context.Canceled) || errors.As(err, &gone) {
			t.Error(err)
		}
	})
}

// TestBooting: while it boots, its console is a sign of life.
func TestBooting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, inside, serial := fakeLab(t)
		go func() {
			for range 10 {
				time.Sleep(lostAfter - time.Second)
				_, _ = io.WriteString(serial, "[1.0] one more line\n")
			}
			_ = inside.Send(wire.Event{Kind: wire.KindHello})
		}()
		if _, err := l.wait(t.Context(), wire.KindHello, nil, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestConsoleIsCapped(t *testing.T) {
	t.Parallel()
	in, out := net.Pipe()
	kept := &strings.Builder{}
	c := readConsole(in, kept)
	line := strings.Repeat("x", 1<<20)
	for range consoleLog>>20 + 2 {
		_, _ = io.WriteString(out, line)
	}
	_, _ = io.WriteString(out, "\x1b[2Jthe end\a")
	out.Close()
	<-c.ended
	if kept.Len() != consoleLog {
		t.Errorf("%d bytes were kept", kept.Len())
	}
	if text := c.text(); len(text) > consoleTail || !strings.HasSuffix(text, "xthe end") || strings.ContainsAny(text, "\x1b\a") {
		t.Errorf("%d bytes are shown, which end in %q", len(text), text[max(0, len(text)-20):])
	}
}
