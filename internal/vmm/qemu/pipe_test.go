package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestConsoleSeesPanics(t *testing.T) {
	t.Parallel()
	const words = "Kernel panic - not syncing: Attempted to kill init!"
	for name, test := range map[string]struct {
		chunks []string
		want   string
	}{
		"none":         {[]string{"hello\n", "panic\n"}, ""},
		"whole":        {[]string{"[    1.0] " + words + "\r\nmore\n"}, words},
		"split":        {[]string{"x\n[    1.0] Kernel pa", "nic - not syn", "cing: Attempted to kill init!", "\n"}, words},
		"cut off":      {[]string{"[    1.0] " + words}, words},
		"first counts": {[]string{words + "\n" + panicMark + ": second\n"}, words},
		"escaped":      {[]string{panicMark + ": \x1b[31m\xff\n"}, panicMark + ":  [31m"},
		"long line":    {[]string{strings.Repeat("x", 10_000) + "\n" + words + "\n"}, words},
		"endless":      {[]string{panicMark + ": " + strings.Repeat("y", 100_000)}, panicMark + ": " + strings.Repeat("y", 512-len(panicMark)-2)},
	} {
		ours, theirs := net.Pipe()
		c := newConsole(ours)
		for _, chunk := range test.chunks {
			io.WriteString(theirs, chunk)
		}
		theirs.Close()
		<-c.ended
		if got := c.panicked(); got != test.want {
			t.Errorf("%s: %.200q", name, got)
		}
	}
}

func TestConsoleNeverHoldsTheGuest(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	c := newConsole(ours)
	r, err := c.take()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.take(); err == nil {
		t.Error("the console was handed out twice")
	}
	// Nobody reads meanwhile: a pipe has no buffer, so every write that returns was taken by the pump.
	line := []byte(strings.Repeat("z", 1023) + "\n")
	for range 3 * maxConsole / len(line) {
		if _, err := theirs.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	io.WriteString(theirs, "the end\n")
	theirs.Close()
	said, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(said) > maxConsole+100 || !bytes.HasSuffix(said, []byte("the end\n")) || !bytes.Contains(said, []byte("bytes of the console were dropped]")) {
		t.Errorf("%d bytes, ending in %q", len(said), said[len(said)-20:])
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}

func TestConsoleReaderCloses(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	c := newConsole(ours)
	defer c.close()
	r, err := c.take()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		read <- err
	}()
	r.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
	if _, err := io.WriteString(theirs, "unread"); err != nil { // the guest goes on
		t.Error(err)
	}
}

// monitor is QEMU's side of a monitor: it answers each command with what reply returns.
func monitor(t *testing.T, reply func(command string, id int) string) (*qmp, chan string) {
	t.Helper()
	ours, theirs := net.Pipe()
	events := make(chan string, 10)
	q := newQMP(ours, func(name string, data json.RawMessage) { events <- name + string(data) })
	t.Cleanup(func() { q.close(); theirs.Close() })
	go func() {
		io.WriteString(theirs, `{"QMP": {"version": {}, "capabilities": ["oob"]}}`+"\r\n")
		lines := bufio.NewScanner(theirs)
		for lines.Scan() {
			var m struct {
				Execute string
				ID      int
			}
			json.Unmarshal(lines.Bytes(), &m)
			io.WriteString(theirs, reply(m.Execute, m.ID))
		}
	}()
	return q, events
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	q, events := monitor(t, func(command string, id int) string {
		switch command {
		case "good":
			return fmt.Sprintf(`{"event": "SHUTDOWN", "data": {"guest": true}}`+"\n"+`{"return": {}, "id": 999}`+"\n"+`{"return": {"a": 1}, "id": %d}`+"\n", id)
		case "bad":
			return fmt.Sprintf(`{"error": {"class": "GenericError", "desc": "no \u001b[31m"}, "id": %d}`+"\n", id)
		}
		return ""
	})
	if raw, err := q.execute(t.Context(), "good"); err != nil || string(raw) != `{"a": 1}` {
		t.Errorf("%s, %v", raw, err)
	}
	if got := <-events; got != `SHUTDOWN{"guest": true}` {
		t.Errorf("event %q", got)
	}
	if _, err := q.execute(t.Context(), "bad"); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("an error becomes %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.execute(ctx, "silent"); !errors.Is(err, context.Canceled) {
		t.Errorf("no answer: %v", err)
	}
	q.close()
	if _, err := q.execute(t.Context(), "good"); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("after close: %v", err)
	}
}

func TestMonitorTalksRubbish(t *testing.T) {
	t.Parallel()
	for name, rubbish := range map[string]string{
		"not JSON": "hello\n", "endless line": strings.Repeat("x", maxQMPLine+1), "end": "",
	} {
		ours, theirs := net.Pipe()
		q := newQMP(ours, func(string, json.RawMessage) {})
		go func() {
			io.WriteString(theirs, rubbish)
			theirs.Close()
		}()
		<-q.dead
		if _, err := q.execute(t.Context(), "x"); err == nil {
			t.Errorf("%s: a command was answered", name)
		}
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"": "",
		"qemu-system-x86_64: warning: x\nqemu-system-x86_64: -blockdev a: Permission denied\n": "-blockdev a: Permission denied",
		"plain\n\nqemu: second\n": "plain; second",
		"qemu-system-x86_64: -chardev socket,id=x: info: QEMU waiting for connection\n": "",
		"qemu-system-x86_64: -blockdev {\"a\":{}}: Could not open\n":                    "Could not open",
		"\x1b[31mred\n": "[31mred",
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		e := newStderr(r)
		io.WriteString(w, said)
		w.Close()
		<-e.ended
		if got := e.words(); got != want {
			t.Errorf("%q becomes %q", said, got)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e := newStderr(r)
	for range 100 {
		io.WriteString(w, strings.Repeat("w", 1000))
	}
	io.WriteString(w, "last")
	w.Close()
	<-e.ended
	if got := e.words(); len(got) > maxStderr || !strings.HasSuffix(got, "last") {
		t.Errorf("%d bytes are kept", len(got))
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		shutdown string
		killed   bool
		panic    string
		want     model.ExitReason
	}{
		"power off":           {"guest-shutdown", false, "", model.ExitPowerOff},
		"power off, killed":   {"guest-shutdown", true, "", model.ExitPowerOff},
		"reset":               {"guest-reset", false, "", model.ExitReset},
		"panic":               {"guest-reset", false, panicMark, model.ExitPanic},
		"panic device":        {"guest-panic", false, "", model.ExitPanic},
		"terminated":          {"host-signal", false, "", model.ExitKilled},
		"killed":              {"", true, "", model.ExitKilled},
		"panic, no message":   {"", false, panicMark, model.ExitPanic},
		"adopted, no message": {"", false, "", model.ExitUnknown},
	} {
		m := &machine{shutdown: test.shutdown, killed: test.killed, con: &console{panic: test.panic}}
		if got := m.why(); got.Reason != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
