package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/server/servertest"
)

func TestRunUnnamedIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.env["FROM_HOST"] = "here"
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		fmt.Fprintf(g.Stdout, "%q\n", g.Spec.Argv)
		fmt.Fprint(g.Stderr, "to stderr")
		return model.ExecStatus{Code: 42}
	}
	b.run(t, "vm", "run", "-m", "4GiB", "--cpus", "3", "-e", "A=1", "-e", "FROM_HOST", "-e", "ABSENT", "-w", "/usr", "-u", "nobody",
		"--timeout", "7", "--", "printf", "", "two words", "--rm", "new\nline").
		want(t, 42, `["printf" "" "two words" "--rm" "new\nline"]`+"\n", "to stderr")
	r := b.VMs.Created()[0]
	if !r.Lease || !r.Start || r.Spec.MemoryBytes != 4*model.GiB || r.Spec.VCPUs != 3 ||
		!slices.Equal(r.Spec.Env, []string{"A=1", "FROM_HOST=here"}) || r.Spec.Workdir != "/usr" || r.Spec.User != "nobody" {
		t.Errorf("request %+v", r)
	}
	if e := b.VMs.Execs()[0]; e.Timeout.String() != "7s" || e.TTY || e.Stdin {
		t.Errorf("command %+v", e)
	}
	if vms, _ := b.VMs.List(t.Context()); len(vms) != 0 {
		t.Errorf("%d VMs are left", len(vms))
	}
}

func TestRunKeepsOrRemoves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args   string
		leased bool
		kept   bool
		stderr string // part of it; "" for none at all
		stdout string
	}{
		{"--name box -- true", false, true, "", ""},
		{"--name box --rm -- true", true, false, "", ""},
		{"--rm", true, false, "", ""},
		{"--name box", false, true, "banger vm shell box", ""},
		{"-d --name box", false, true, "", "box\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.VMs.Program = servertest.Exit(0)
			r := b.run(t, append([]string{"vm", "run"}, strings.Fields(tt.args)...)...)
			if r.code != 0 || r.out != tt.stdout || !strings.Contains(r.err, tt.stderr) || tt.stderr == "" && r.err != "" {
				t.Errorf("%+v", r)
			}
			if tt.kept != (strings.Count(strings.Join(b.VMs.Calls(), ","), "delete") == 0) || b.VMs.Created()[0].Lease != tt.leased {
				t.Errorf("leased %v, calls %q", b.VMs.Created()[0].Lease, b.VMs.Calls())
			}
		})
	}
}

func TestRunWarnsOnceUnlessQuiet(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Program = servertest.Exit(0)
	b.VMs.Work = func(_ context.Context, kind string, op *operation.Operation) error {
		if kind == "start" {
			op.Warn("it is slow\x1b[2J")
		}
		return nil
	}
	b.run(t, "vm", "run", "--", "true").want(t, 0, "", `banger: warning: it is slow\x1b[2J`+"\n")
	b.run(t, "vm", "run", "-q", "--", "true").want(t, 0, "")
}

func TestRunStartFails(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		left  int
		parts []string
	}{
		"--name box -- true": {1, []string{"cannot start", "banger vm logs box", "banger vm delete box"}},
		"-- true":            {0, []string{"cannot start"}},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.VMs.Work = func(_ context.Context, kind string, _ *operation.Operation) error {
				if kind == "start" {
					return model.Errorf(model.ErrUnavailable, "cannot start the VM: the guest panicked")
				}
				return nil
			}
			b.run(t, append([]string{"vm", "run"}, strings.Fields(args)...)...).want(t, 125, "", want.parts...)
			if vms, _ := b.VMs.List(t.Context()); len(vms) != want.left {
				t.Errorf("%d VMs are left, want %d", len(vms), want.left)
			}
		})
	}
}

func TestInterruptBeforeTheCommandCancels(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	going := make(chan struct{})
	b.VMs.Work = func(ctx context.Context, kind string, _ *operation.Operation) error {
		if kind != "start" {
			return nil
		}
		close(going)
		<-ctx.Done()
		return ctx.Err()
	}
	go func() {
		<-going
		b.signals <- syscall.SIGUSR1 // not a wish to end
		b.signals <- os.Interrupt
	}()
	b.run(t, "vm", "run", "--", "true").want(t, 130, "")
	if vms, _ := b.VMs.List(t.Context()); len(vms) != 0 {
		t.Errorf("%d VMs are left", len(vms))
	}
	if len(b.VMs.Execs()) != 0 {
		t.Error("the command ran")
	}
}

func TestInterruptDuringTheCommandIsForwarded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR2, syscall.SIGINT} {
			b.signals <- s
			if got := <-g.Signals; got != int(s) {
				return model.ExecStatus{Code: 1, Message: fmt.Sprintf("got %d, want %d", got, s)}
			}
		}
		return model.ExecStatus{Code: 130, Signal: 2}
	}
	b.run(t, "vm", "run", "--", "sleep", "600").want(t, 130, "")
	if vms, _ := b.VMs.List(t.Context()); len(vms) != 0 {
		t.Errorf("%d VMs are left", len(vms))
	}
}

func TestThreeInterruptsLeaveTheCommand(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		for range 3 {
			b.signals <- os.Interrupt
		}
		<-g.Gone // deaf to all of them
		return model.ExecStatus{}
	}
	b.run(t, "vm", "run", "--", "deaf").want(t, 130, "")
	if vms, _ := b.VMs.List(t.Context()); len(vms) != 0 {
		t.Errorf("%d VMs are left", len(vms))
	}
}

func TestInterruptDoesNotCancelTheDelete(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Program = servertest.Exit(3)
	b.VMs.Work = func(ctx context.Context, kind string, _ *operation.Operation) error {
		if kind == "delete" {
			b.signals <- os.Interrupt
		}
		return ctx.Err()
	}
	b.run(t, "vm", "run", "--", "true").want(t, 3, "")
	if vms, _ := b.VMs.List(t.Context()); len(vms) != 0 {
		t.Errorf("%d VMs are left", len(vms))
	}
}

func TestExecInput(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	input := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		_, _ = io.Copy(g.Stdout, g.Stdin)
		return model.ExecStatus{}
	}
	b.in = bytes.NewReader(input)
	b.run(t, "vm", "exec", "-i", "box", "cat").want(t, 0, string(input))
	unread := strings.NewReader("ours")
	b.in = unread
	b.run(t, "vm", "exec", "box", "--", "cat").want(t, 0, "")
	if unread.Len() != 4 {
		t.Error("input was read without -i")
	}
	b.in = strings.NewReader("echo from a pipe\n")
	b.run(t, "vm", "ssh", "-u", "nobody", "box").want(t, 0, "echo from a pipe\n")
	if last := b.VMs.Execs()[2]; last.User != "nobody" || last.TTY || !last.Stdin {
		t.Errorf("shell %+v", last)
	}
	if calls := b.VMs.Calls(); calls[2] != "shell box" {
		t.Errorf("calls %q", calls)
	}
}

func TestExecEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	b.VMs.Add("resting", model.StateStopped)
	for _, tt := range []struct {
		args   string
		status model.ExecStatus
		code   int
		stderr []string
	}{
		{"box -- x", model.ExecStatus{Code: 127, Message: "x: not found\x1b"}, 127, []string{"banger: x: not found\\x1b\n"}},
		{"box x", model.ExecStatus{Code: 143, Signal: 15}, 143, nil},
		{"box x", model.ExecStatus{Code: 255}, 255, nil},
		{"--timeout 5s box x", model.ExecStatus{Code: 124, TimedOut: true}, 124, []string{"after 5s"}},
		{"resting x", model.ExecStatus{}, 125, []string{"banger vm start resting"}},
	} {
		b.VMs.Program = func(*servertest.Guest) model.ExecStatus { return tt.status }
		b.run(t, append([]string{"vm", "exec"}, strings.Fields(tt.args)...)...).want(t, tt.code, "", tt.stderr...)
	}
}

// A reader that leaves ends the command as it would end a local one, and us with it.
func TestExecIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.VMs.Add("box", model.StateRunning)
	told := make(chan int, 1)
	b.VMs.Program = func(g *servertest.Guest) model.ExecStatus {
		for {
			if _, err := fmt.Fprintln(g.Stdout, "y"); err != nil {
				told <- <-g.Signals
				return model.ExecStatus{}
			}
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_ = r.Close()
	code, stderr := b.runTo(t, w, "vm", "exec", "box", "yes")
	if code != 141 || stderr != "" || <-told != int(syscall.SIGPIPE) {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}
