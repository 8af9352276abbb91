package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm/process"
)

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
		if got := lastWords(said); got != want {
			t.Errorf("%q becomes %q", said, got)
		}
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	const panicLine = "Kernel panic - not syncing: x"
	for name, test := range map[string]struct {
		shutdown string
		killed   bool
		panic    string
		want     model.ExitReason
	}{
		"power off":           {"guest-shutdown", false, "", model.ExitPowerOff},
		"power off, killed":   {"guest-shutdown", true, "", model.ExitPowerOff},
		"reset":               {"guest-reset", false, "", model.ExitReset},
		"panic":               {"guest-reset", false, panicLine, model.ExitPanic},
		"panic device":        {"guest-panic", false, "", model.ExitPanic},
		"terminated":          {"host-signal", false, "", model.ExitKilled},
		"killed":              {"", true, "", model.ExitKilled},
		"panic, no message":   {"", false, panicLine, model.ExitPanic},
		"adopted, no message": {"", false, "", model.ExitUnknown},
	} {
		c := exec.CommandContext(t.Context(), "sleep", "1000")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := procs.Of(c.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		handle, err := procs.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		m := newMachine(t.TempDir(), slog.New(slog.DiscardHandler))
		m.shutdown = test.shutdown
		m.con = process.NewConsole(io.NopCloser(strings.NewReader(test.panic + "\n")))
		m.Adopt(handle, m.heard(), m.why)
		if test.killed {
			err = m.Kill(t.Context())
		} else {
			err = c.Process.Kill()
		}
		_ = c.Wait()
		if err != nil {
			t.Error(err)
		}
		<-m.Done()
		if got := m.Exit(); got.Reason != test.want {
			t.Errorf("%s: %v", name, got)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
