package guest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/agent"
	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/vmm/vmmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a host's side of a fake guest: connections are made anew over the same agent.
type host struct {
	t      *testing.T
	agent  *agent.Agent
	system *vmmtest.System
}

func newHost(t *testing.T, o vmmtest.SystemOptions) *host {
	t.Helper()
	system, err := vmmtest.NewSystem(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { system.Stop(0) })
	return &host{t: t, agent: agent.New(system, "test"), system: system}
}

// connect makes a connection whose two ends close with the test.
func (h *host) connect() *guest.Guest {
	h.t.Helper()
	ours, theirs := socketpair(h.t)
	served := make(chan struct{})
	ctx, cancel := context.WithCancel(h.t.Context())
	go func() {
		defer close(served)
		h.agent.ServeConn(ctx, theirs)
	}()
	g, err := guest.Connect(h.t.Context(), ours)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		g.Close()
		cancel()
		<-served
	})
	return g
}

func (h *host) configured(c guest.Config) *guest.Guest {
	h.t.Helper()
	g := h.connect()
	if c.Generation == 0 {
		c.Generation = 1
	}
	if err := g.Configure(h.t.Context(), c); err != nil {
		h.t.Fatal(err)
	}
	return g
}

func socketpair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conns := make([]net.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conns[i], err = net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return conns[0], conns[1]
}

type result struct {
	stdout, stderr bytes.Buffer
	lost           int64
	exit           *model.ExecStatus
}

func collect(t *testing.T, a *guest.Attachment) *result {
	t.Helper()
	r := &result{}
	for {
		out, err := a.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("Recv: %v", err)
		}
		r.stdout.Write(out.Stdout)
		r.stderr.Write(out.Stderr)
		r.lost += out.Lost
		if out.Exit != nil {
			r.exit = out.Exit
		}
	}
	a.Close()
	if r.exit == nil {
		t.Fatal("the output ended without an exit")
	}
	return r
}

func run(t *testing.T, g *guest.Guest, spec model.ExecSpec, shell bool) *result {
	t.Helper()
	a, err := g.Exec(t.Context(), string(model.NewVMID()), spec, shell)
	if err != nil {
		t.Fatalf("Exec %q: %v", spec.Argv, err)
	}
	return collect(t, a)
}

func TestHelloTellsWhoAnswers(t *testing.T) {
	t.Parallel()
	h := newHost(t, vmmtest.SystemOptions{BootID: "boot-1"})
	g := h.connect()
	if got, want := g.Hello(), (guest.Hello{BootID: "boot-1", AgentVersion: "test", Protocol: guest.Protocol}); got != want {
		t.Fatalf("Hello = %+v, want %+v", got, want)
	}
	if err := g.Configure(t.Context(), guest.Config{Generation: 7, Hostname: "box"}); err != nil {
		t.Fatal(err)
	}
	if got := h.connect().Hello().Generation; got != 7 {
		t.Fatalf("generation after Configure = %d, want 7", got)
	}
}

func TestConfigureOncePerGeneration(t *testing.T) {
	t.Parallel()
	h := newHost(t, vmmtest.SystemOptions{})
	g := h.configured(guest.Config{Generation: 3, Hostname: "first"})
	if err := g.Configure(t.Context(), guest.Config{Generation: 3, Hostname: "second"}); err != nil {
		t.Fatal(err)
	}
	if got := h.system.Config().Hostname; got != "first" {
		t.Fatalf("the same generation was applied twice: hostname %q", got)
	}
	if err := g.Configure(t.Context(), guest.Config{Generation: 2}); !errors.Is(err, model.ErrInvalid) {
		t.Fatalf("an older generation: %v, want ErrInvalid", err)
	}
	if err := g.Configure(t.Context(), guest.Config{Generation: 4, Hostname: "third"}); err != nil {
		t.Fatal(err)
	}
	if got := h.system.Config().Hostname; got != "third" {
		t.Fatalf("hostname = %q, want third", got)
	}
}

func TestExecBeforeConfigureIsRefused(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).connect()
	if _, err := g.Exec(t.Context(), "x", model.ExecSpec{Argv: []string{"true"}}, false); !errors.Is(err, model.ErrState) {
		t.Fatalf("Exec: %v, want ErrState", err)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 100_000)
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{Hostname: "box", Env: []string{"A=1", "B=2"}})
	for _, c := range []struct {
		name   string
		spec   model.ExecSpec
		stdout string
		status model.ExecStatus
	}{
		{"success", model.ExecSpec{Argv: []string{"true"}}, "", model.ExecStatus{}},
		{"failure", model.ExecSpec{Argv: []string{"exit", "42"}}, "", model.ExecStatus{Code: 42}},
		{"output", model.ExecSpec{Argv: []string{"echo", "a b", "", "ü\n"}}, "a b  ü\n\n", model.ExecStatus{}},
		{"large argument", model.ExecSpec{Argv: []string{"echo", big}}, big + "\n", model.ExecStatus{}},
		{"configured environment", model.ExecSpec{Argv: []string{"printenv", "A"}}, "1\n", model.ExecStatus{}},
		{"own environment wins", model.ExecSpec{Argv: []string{"printenv", "A"}, Env: []string{"A="}}, "\n", model.ExecStatus{}},
		{"hostname", model.ExecSpec{Argv: []string{"hostname"}}, "box\n", model.ExecStatus{}},
		{"not found", model.ExecSpec{Argv: []string{"nope"}}, "", model.ExecStatus{Code: 127, Message: `exec: "nope": executable file not found in $PATH`}},
		{"timeout", model.ExecSpec{Argv: []string{"sleep", "1000"}, Timeout: time.Millisecond}, "", model.ExecStatus{Code: 124, Signal: 15, TimedOut: true}},
		{"no input", model.ExecSpec{Argv: []string{"cat"}}, "", model.ExecStatus{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := run(t, g, c.spec, false)
			if r.stdout.String() != c.stdout || *r.exit != c.status {
				t.Errorf("%q: stdout %.100q, exit %+v; want %.100q, %+v", c.spec.Argv, r.stdout.String(), *r.exit, c.stdout, c.status)
			}
		})
	}
}

func TestStdinIsStreamedAndHalfClosed(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	want := make([]byte, 5<<20)
	rand.Read(want)
	a, err := g.Exec(t.Context(), "cat", model.ExecSpec{Argv: []string{"cat"}, Stdin: true}, false)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(a.Stdin(want), a.CloseStdin()) }()
	r := collect(t, a)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.stdout.Bytes(), want) {
		t.Fatalf("got %d bytes back, want the %d sent", r.stdout.Len(), len(want))
	}
}

func TestLargeOutputIsComplete(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	const lines = 2 << 20
	r := run(t, g, model.ExecSpec{Argv: []string{"yes", "123456789", fmt.Sprint(lines)}}, false)
	if r.stdout.Len() != 10*lines || r.lost != 0 {
		t.Fatalf("got %d bytes, %d lost; want %d", r.stdout.Len(), r.lost, 10*lines)
	}
}

func TestSignalEndsACommand(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	a, err := g.Exec(t.Context(), "s", model.ExecSpec{Argv: []string{"sleep", "1000"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Signal(2); err != nil {
		t.Fatal(err)
	}
	if r := collect(t, a); *r.exit != (model.ExecStatus{Code: 130, Signal: 2}) {
		t.Fatalf("exit = %+v", *r.exit)
	}
}

func TestResizeReachesTheTerminal(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	spec := model.ExecSpec{Argv: []string{"stty"}, TTY: true, Stdin: true, Rows: 24, Cols: 80}
	a, err := g.Exec(t.Context(), "t", spec, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Resize(50, 132), a.Stdin([]byte("\n")), a.CloseStdin()); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, a).stdout.String(); got != "24 80\n50 132\n" && got != "50 132\n50 132\n" {
		t.Fatalf("sizes: %q", got)
	}
}

func TestOrphanDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	// The orphan keeps the output open until the guest is stopped.
	r := run(t, g, model.ExecSpec{Argv: []string{"orphan", "100000"}}, false)
	if r.stdout.String() != "parent\n" || r.exit.Code != 0 {
		t.Fatalf("stdout %q, exit %+v", r.stdout.String(), *r.exit)
	}
}

func TestFiftyAtOnce(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			word := fmt.Sprint("word ", i)
			if r := run(t, g, model.ExecSpec{Argv: []string{"echo", word}}, false); r.stdout.String() != word+"\n" {
				t.Errorf("echo %s said %q", word, r.stdout.String())
			}
		})
	}
	all.Wait()
}
