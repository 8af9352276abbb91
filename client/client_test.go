package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"banger/client"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/server/servertest"
)

// limit bounds what would hang for ever; nothing is timed by it.
const limit = time.Minute

func dial(t *testing.T, d *servertest.Daemon) (context.Context, *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	c, err := client.Dial(ctx, client.Options{Dirs: d.Dirs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return ctx, c
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	d.Close(t)
	if _, err := client.Dial(t.Context(), client.Options{Dirs: d.Dirs}); !errors.Is(err, client.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
}

func TestErrorsKeepKindAndSentence(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	box := d.VMs.Add("box", model.StateStopped)
	ctx, c := dial(t, d)
	for _, tt := range []struct {
		name string
		call func() error
		kind error
		text string
	}{
		{"unary", func() error { _, err := c.Image(ctx, "nope"); return err }, client.ErrNotFound, "banger image list"},
		{"operation", func() error { _, err := c.Start(ctx, "nope"); return err }, client.ErrNotFound, `there is no VM "nope"`},
		{"resolution", func() error { r, err := c.Resolve(ctx, []string{"nope"}); return errors.Join(err, r[0].Err) }, client.ErrNotFound, "banger vm list"},
		{"exec", func() error {
			_, err := c.Exec(ctx, client.ExecRequest{VM: string(box.ID), Argv: []string{"true"}})
			return err
		}, client.ErrState, "banger vm start box"},
		{"taken", func() error { _, err := c.Create(ctx, client.CreateRequest{Name: "box"}); return err }, client.ErrExists, "exists"},
	} {
		err := tt.call()
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: got %v, want %v with %q", tt.name, err, tt.kind, tt.text)
		}
	}
}

func TestOperationEventsThenResult(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	d.VMs.Work = func(_ context.Context, kind string, op *operation.Operation) error {
		op.Report(model.Progress{Stage: kind, Done: 1, Total: 2})
		op.Warn("it is slow")
		return nil
	}
	ctx, c := dial(t, d)
	op, err := c.Create(ctx, client.CreateRequest{Name: "box", VCPUs: 3, Env: []string{"A=1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	var seen []client.Event
	result, err := op.Wait(func(e client.Event) { seen = append(seen, e) })
	if err != nil {
		t.Fatal(err)
	}
	want := []client.Event{{Stage: "create", Done: 1, Total: 2}, {Warning: "it is slow"}}
	if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
		t.Errorf("events %+v, want %+v", seen, want)
	}
	if result.VM == nil || result.VM.Name != "box" || result.VM.VCPUs != 3 || result.VM.Handles.VMM != nil {
		t.Errorf("result %+v", result.VM)
	}
}

func TestFailedStartTellsWhatIsLeft(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	d.VMs.Work = func(_ context.Context, kind string, _ *operation.Operation) error {
		if kind == "start" {
			return model.Errorf(model.ErrNoSpace, "cannot start: the disk is full")
		}
		return nil
	}
	ctx, c := dial(t, d)
	op, err := c.Create(ctx, client.CreateRequest{Start: true, Lease: true})
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	result, err := op.Wait(nil)
	if !errors.Is(err, client.ErrNoSpace) || result.Left == nil || result.Left.State != "failed" || result.VM != nil {
		t.Errorf("got %v, %+v", err, result)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	d.VMs.Work = func(ctx context.Context, _ string, _ *operation.Operation) error {
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, c := dial(t, d)
	op, err := c.Create(ctx, client.CreateRequest{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	if err := op.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := op.Wait(nil); !errors.Is(err, client.ErrCanceled) {
		t.Errorf("got %v, want ErrCanceled", err)
	}
	if err := op.Cancel(ctx); err != nil {
		t.Errorf("canceling what has ended: %v", err)
	}
}

func TestLeaseIsHeldUntilClose(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *client.Client, op *client.Operation) error{
		"operation closed": func(_ *client.Client, op *client.Operation) error { return op.Close() },
		"client closed":    func(c *client.Client, _ *client.Operation) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := servertest.Start(t)
			ctx, c := dial(t, d)
			op, err := c.Create(ctx, client.CreateRequest{Start: true, Lease: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := op.Wait(nil); err != nil {
				t.Fatal(err)
			}
			// The lease is taken before the client hears of the VM: no waiting here.
			if err := d.VMs.Await(ctx, func(_ []string, leases int) bool { return leases == 1 }); err != nil {
				t.Fatal(err)
			}
			if err := end(c, op); err != nil {
				t.Fatal(err)
			}
			if err := d.VMs.Await(ctx, func(_ []string, leases int) bool { return leases == 0 }); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func exec(t *testing.T, p servertest.Program, r client.ExecRequest) (context.Context, *servertest.Daemon, *client.Exec) {
	t.Helper()
	d := servertest.Start(t)
	d.VMs.Program = p
	r.VM = string(d.VMs.Add("box", model.StateRunning).ID)
	ctx, c := dial(t, d)
	x, err := c.Exec(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return ctx, d, x
}

func drain(x *client.Exec) (stdout, stderr []byte, exit *client.ExitStatus, err error) {
	for {
		out, err := x.Recv()
		if errors.Is(err, io.EOF) {
			return stdout, stderr, exit, nil
		}
		if err != nil {
			return stdout, stderr, exit, err
		}
		stdout, stderr = append(stdout, out.Stdout...), append(stderr, out.Stderr...)
		if out.Exit != nil {
			exit = out.Exit
		}
	}
}

func TestExecStreams(t *testing.T) {
	t.Parallel()
	program := func(g *servertest.Guest) model.ExecStatus {
		both := io.MultiWriter(g.Stdout, g.Stderr)
		if _, err := io.CopyBuffer(both, g.Stdin, make([]byte, 20<<10)); err != nil {
			return model.ExecStatus{Code: 1, Message: err.Error()}
		}
		return model.ExecStatus{Code: 42}
	}
	_, _, x := exec(t, program, client.ExecRequest{Argv: []string{"tee"}, Stdin: true})
	input := bytes.Repeat([]byte("0123456789abcde\n"), 1<<19) // 8 MiB
	go func() {
		if err := x.Stdin(input); err == nil {
			_ = x.CloseStdin()
		}
	}()
	stdout, stderr, exit, err := drain(x)
	if err != nil || exit == nil || exit.Code != 42 {
		t.Fatalf("exit %+v, %v", exit, err)
	}
	if sha256.Sum256(stdout) != sha256.Sum256(input) || sha256.Sum256(stderr) != sha256.Sum256(input) {
		t.Errorf("%d bytes of stdout and %d of stderr differ from the %d sent", len(stdout), len(stderr), len(input))
	}
}

// A command that reads nothing has its client blocked in the middle of the input; signals and sizes still reach it.
func TestSignalsPassBlockedInput(t *testing.T) {
	t.Parallel()
	program := func(g *servertest.Guest) model.ExecStatus {
		size := <-g.Sizes
		return model.ExecStatus{Code: 100 + <-g.Signals + int(size[0])}
	}
	ctx, _, x := exec(t, program, client.ExecRequest{Argv: []string{"sleep"}, Stdin: true})
	blocked := make(chan error, 1)
	go func() { blocked <- x.Stdin(make([]byte, 32<<20)) }()
	if err := x.Resize(5, 80); err != nil {
		t.Fatal(err)
	}
	if err := x.Signal(2); err != nil {
		t.Fatal(err)
	}
	if _, _, exit, err := drain(x); err != nil || exit == nil || exit.Code != 107 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	select {
	case <-blocked:
	case <-ctx.Done():
		t.Error("input still blocks though the command has ended")
	}
}

func TestExecWithoutStdinReadsEndOfFile(t *testing.T) {
	t.Parallel()
	program := func(g *servertest.Guest) model.ExecStatus {
		n, err := io.Copy(io.Discard, g.Stdin)
		if n != 0 || err != nil {
			return model.ExecStatus{Code: 1}
		}
		return model.ExecStatus{Code: 0}
	}
	_, _, x := exec(t, program, client.ExecRequest{Argv: []string{"cat"}})
	if _, _, exit, err := drain(x); err != nil || exit == nil || exit.Code != 0 {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

// A client that breaks off in the middle of its input has not said that the input is complete.
func TestBrokenInputIsNotTheEndOfInput(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	program := func(g *servertest.Guest) model.ExecStatus {
		_, err := io.Copy(io.Discard, g.Stdin)
		read <- err
		return model.ExecStatus{}
	}
	ctx, _, x := exec(t, program, client.ExecRequest{Argv: []string{"cat"}, Stdin: true})
	if err := x.Stdin([]byte("half a fi")); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-read:
		if err == nil {
			t.Error("the command read a clean end of file")
		}
	case <-ctx.Done():
		t.Error("the command was not told")
	}
}

func TestDaemonEndsDuringExec(t *testing.T) {
	t.Parallel()
	program := func(g *servertest.Guest) model.ExecStatus {
		<-g.Gone
		return model.ExecStatus{}
	}
	_, d, x := exec(t, program, client.ExecRequest{Argv: []string{"sleep"}})
	d.Close(t) // it does not wait for the command either
	if _, _, exit, err := drain(x); !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("exit %+v, %v, want ErrUnavailable", exit, err)
	}
}

func TestVersionsAndStatus(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	ctx, c := dial(t, d)
	s, err := c.Status(ctx)
	if err != nil || s.PID == 0 || s.Socket != d.Dirs.Socket() || s.Protocol == 0 || s.AgentProtocol == 0 {
		t.Errorf("status %+v, %v", s, err)
	}
}
