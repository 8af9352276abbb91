package linux

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"banger/internal/agent"
	"banger/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// These tests start real processes on this machine, which a guest's agent does as root.

type ended struct {
	stdout, stderr string
	exit           agent.Exit
}

func startAndWait(t *testing.T, c agent.Command, input string) ended {
	t.Helper()
	p, err := new(System).Start(c)
	if err != nil {
		t.Fatalf("Start %q: %v", c.Argv, err)
	}
	if p.Stdin() != nil {
		if _, err := io.WriteString(p.Stdin(), input); err != nil {
			t.Errorf("write: %v", err)
		}
		if err := p.Stdin().Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	var e ended
	outputs := make(chan string, 2)
	read := func(r agent.Reader) {
		text, err := io.ReadAll(r)
		if err != nil && !errors.Is(err, syscall.EIO) { // how a terminal ends
			t.Errorf("read: %v", err)
		}
		outputs <- string(text)
	}
	exit := make(chan agent.Exit, 1)
	go func() { exit <- p.Wait() }()
	go read(p.Stdout())
	e.stdout = <-outputs
	if p.Stderr() != nil {
		go read(p.Stderr())
		e.stderr = <-outputs
	}
	e.exit = <-exit
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	return e
}

func TestProcess(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	for _, c := range []struct {
		name    string
		command agent.Command
		input   string
		want    ended
	}{
		{"code", agent.Command{Argv: []string{"sh", "-c", "exit 42"}}, "", ended{exit: agent.Exit{Code: 42}}},
		{"signal", agent.Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, "", ended{exit: agent.Exit{Signal: 9}}},
		{"outputs", agent.Command{Argv: []string{"sh", "-c", "echo a; echo b >&2"}}, "", ended{stdout: "a\n", stderr: "b\n"}},
		{"no input", agent.Command{Argv: []string{"cat"}}, "", ended{}},
		{"input", agent.Command{Argv: []string{"cat"}, Stdin: true}, "in", ended{stdout: "in"}},
		{"arguments", agent.Command{Argv: []string{"printf", "<%s>", "", "a b", "*", "\n"}}, "", ended{stdout: "<><a b><*><\n>"}},
		{"files", agent.Command{Argv: []string{"sh", "-c", "ulimit -n"}}, "", ended{stdout: "1024\n"}},
		{"workdir", agent.Command{Argv: []string{"pwd"}, Workdir: "/usr"}, "", ended{stdout: "/usr\n"}},
		{"user", agent.Command{Argv: []string{"id", "-u"}, User: "12345"}, "", ended{stdout: "12345\n"}},
		{"group", agent.Command{Argv: []string{"id", "-g"}, User: "12345:54321"}, "", ended{stdout: "54321\n"}},
		{"session", agent.Command{Argv: []string{"sh", "-c", `test "$(ps -o sid= -p $$ | tr -d ' ')" = $$`}}, "", ended{}},
		{"terminal", agent.Command{Argv: []string{"sh", "-c", "stty size; test -t 0 && test -t 1 && test -t 2"}, TTY: true, Rows: 33, Cols: 99}, "", ended{stdout: "33 99\r\n"}},
		{"typed", agent.Command{Argv: []string{"sh", "-c", "stty -echo; echo ready; cat"}, TTY: true, Stdin: true}, "", ended{stdout: "ready\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := startAndWait(t, c.command, c.input); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestProcessThatCannotStart(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	for _, c := range []struct {
		name    string
		command agent.Command
		code    int
		message string
	}{
		{"nowhere", agent.Command{Argv: []string{"no-such-program"}}, 127, "not found"},
		{"no such path", agent.Command{Argv: []string{"/no/such/program"}}, 127, "no such file"},
		{"directory", agent.Command{Argv: []string{"/usr"}}, 126, "is a directory"},
		{"not executable", agent.Command{Argv: []string{"/etc/passwd"}}, 126, "permission denied"},
		{"no such workdir", agent.Command{Argv: []string{"true"}, Workdir: "/no/such"}, 126, "chdir"},
		{"no such user", agent.Command{Argv: []string{"true"}, User: "no-such-user"}, 126, "unable to find user"},
		{"argument too long", agent.Command{Argv: []string{"true", strings.Repeat("x", 1<<18)}}, 126, "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := new(System).Start(c.command)
			var refused *agent.StartError
			if !errors.As(err, &refused) || refused.Code != c.code || !strings.Contains(refused.Message, c.message) {
				t.Errorf("Start: %v; want code %d and %q", err, c.code, c.message)
			}
		})
	}
}

func TestSignalsReachOnlyTheLiving(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	p, err := new(System).Start(agent.Command{Argv: []string{"sleep", "1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SignalAll(15); err != nil {
		t.Fatal(err)
	}
	if exit := p.Wait(); exit.Signal != 15 {
		t.Errorf("exit = %+v", exit)
	}
	if err := errors.Join(p.Signal(9), p.SignalAll(9), p.Close()); err != nil {
		t.Errorf("after the end: %v", err)
	}
}
