package linux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/agent"
	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// here is the real System without what would change this machine.
type here struct{ System }

func (*here) BootID() string                                { return "here" }
func (*here) TimerRate() float64                            { return 1 }
func (*here) Configure(context.Context, agent.Config) error { return nil }
func (*here) Stop(time.Duration) error                      { return nil }

func connect(t *testing.T) *guest.Guest {
	t.Helper()
	testenv.NeedRoot(t)
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		agent.New(&here{}, "test").ServeConn(ctx, theirs)
	}()
	g, err := guest.Connect(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		cancel()
		<-served
	})
	if err := g.Configure(t.Context(), guest.Config{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	return g
}

func run(t *testing.T, g *guest.Guest, spec model.ExecSpec, shell bool, input string) (stdout, stderr []byte, exit model.ExecStatus) {
	t.Helper()
	a, err := g.Exec(t.Context(), string(model.NewVMID()), spec, shell)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if spec.Stdin {
		go func() {
			a.Stdin([]byte(input)) // ends with the command
			a.CloseStdin()
		}()
	}
	for {
		out, err := a.Recv()
		if errors.Is(err, io.EOF) {
			return stdout, stderr, exit
		}
		if err != nil {
			t.Fatal(err)
		}
		stdout, stderr = append(stdout, out.Stdout...), append(stderr, out.Stderr...)
		if out.Exit != nil {
			exit = *out.Exit
		}
	}
}

func TestServedCommands(t *testing.T) {
	t.Parallel()
	g := connect(t)
	for _, c := range []struct {
		name   string
		spec   model.ExecSpec
		input  string
		stdout string
		code   int
	}{
		{"typed end of file", model.ExecSpec{Argv: []string{"sh", "-c", "cat >/dev/null; echo end"}, TTY: true, Stdin: true}, "", "end\r\n", 0},
		{"input not read", model.ExecSpec{Argv: []string{"true"}, Stdin: true}, strings.Repeat("x", 1<<20), "", 0},
		{"output after close", model.ExecSpec{Argv: []string{"sh", "-c", "cat; echo after"}, Stdin: true}, "before ", "before after\n", 0},
		{"group ends on timeout", model.ExecSpec{Argv: []string{"sh", "-c", "sleep 1000; true"}, Timeout: 100 * time.Millisecond}, "", "", 124},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, exit := run(t, g, c.spec, false, c.input)
			if exit.Code != c.code || len(stderr) > 0 || string(stdout) != c.stdout {
				t.Errorf("stdout %q, stderr %q, exit %+v; want %q, %d", stdout, stderr, exit, c.stdout, c.code)
			}
		})
	}
}

func TestServedOutputIsComplete(t *testing.T) {
	t.Parallel()
	g := connect(t)
	const size = 8 << 20
	script := "head -c 8388608 /dev/zero | tr '\\0' a & head -c 8388608 /dev/zero | tr '\\0' b >&2; wait"
	stdout, stderr, exit := run(t, g, model.ExecSpec{Argv: []string{"sh", "-c", script}}, false, "")
	if exit.Code != 0 || !bytes.Equal(stdout, bytes.Repeat([]byte("a"), size)) || !bytes.Equal(stderr, bytes.Repeat([]byte("b"), size)) {
		t.Errorf("got %d and %d bytes, exit %+v; want %d each", len(stdout), len(stderr), exit, size)
	}
}

func TestServedInputIsComplete(t *testing.T) {
	t.Parallel()
	g := connect(t)
	input := strings.Repeat("0123456789abcdef", 1<<18)
	stdout, _, exit := run(t, g, model.ExecSpec{Argv: []string{"cat"}, Stdin: true}, false, input)
	if exit.Code != 0 || sha256.Sum256(stdout) != sha256.Sum256([]byte(input)) {
		t.Errorf("got %d bytes back, exit %+v; want the %d sent", len(stdout), exit, len(input))
	}
}

func TestServedOrphanHoldsUpNothing(t *testing.T) {
	t.Parallel()
	g := connect(t)
	stdout, _, exit := run(t, g, model.ExecSpec{Argv: []string{"sh", "-c", "sleep 1000 & echo $!"}}, false, "")
	pid, err := strconv.Atoi(strings.TrimSpace(string(stdout)))
	if err != nil || exit.Code != 0 {
		t.Fatalf("stdout %q, exit %+v", stdout, exit)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the orphan did not live on: %v", err)
	}
}
