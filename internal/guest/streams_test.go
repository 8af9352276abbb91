package guest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/vmm/vmmtest"
)

// readSome reads until at least n bytes of stdout came.
func readSome(t *testing.T, a *guest.Attachment, n int) (got []byte) {
	t.Helper()
	for len(got) < n {
		out, err := a.Recv()
		if err != nil {
			t.Fatalf("Recv: %v", err)
		}
		got = append(got, out.Stdout...)
	}
	return got
}

func TestAttachGoesOnWhereAConnectionBroke(t *testing.T) {
	t.Parallel()
	const lines = 1 << 18
	h := newHost(t, vmmtest.SystemOptions{})
	g := h.configured(guest.Config{})
	a, err := g.Exec(t.Context(), "y", model.ExecSpec{Argv: []string{"yes", "123456789", fmt.Sprint(lines)}}, false)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for range 10 {
		got.Write(readSome(t, a, 100_000))
		at := a.Offsets()
		if at.Stdout != int64(got.Len()) {
			t.Fatalf("offset %d after %d bytes", at.Stdout, got.Len())
		}
		g.Close()
		if _, err := a.Recv(); err != nil && !errors.Is(err, model.ErrUnavailable) {
			t.Fatalf("Recv after the connection's end: %v, want ErrUnavailable", err)
		}
		a.Close()
		g = h.connect()
		if a, err = g.Attach(t.Context(), "y", at); err != nil {
			t.Fatal(err)
		}
	}
	r := collect(t, a)
	got.Write(r.stdout.Bytes())
	if want := bytes.Repeat([]byte("123456789\n"), lines); r.lost != 0 || !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("got %d bytes, %d lost; want %d", got.Len(), r.lost, len(want))
	}
	if _, err := g.Attach(t.Context(), "never", guest.Offsets{}); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("attaching to what was never started: %v, want ErrNotFound", err)
	}
}

func TestStartThenAttach(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	spec := model.ExecSpec{Argv: []string{"echo", "x"}}
	if err := g.Start(t.Context(), "e", spec, false); err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context(), "e", spec, false); !errors.Is(err, model.ErrExists) {
		t.Errorf("the same id twice: %v, want ErrExists", err)
	}
	a, err := g.Attach(t.Context(), "e", guest.Offsets{})
	if err != nil {
		t.Fatal(err)
	}
	if r := collect(t, a); r.stdout.String() != "x\n" {
		t.Errorf("stdout %q", r.stdout.String())
	}
}

func TestNewerAttachmentTakesOver(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	spec := model.ExecSpec{Argv: []string{"cat"}, Stdin: true}
	first, err := g.Exec(t.Context(), "c", spec, false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := g.Attach(t.Context(), "c", guest.Offsets{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("Recv of the first: %v, want ErrCanceled", err)
	}
	if err := first.Stdin([]byte("x")); err == nil {
		t.Error("the first can still send")
	}
	if err := errors.Join(second.Stdin([]byte("x")), second.CloseStdin()); err != nil {
		t.Fatal(err)
	}
	if r := collect(t, second); r.stdout.String() != "x" {
		t.Errorf("stdout %q", r.stdout.String())
	}
}

// Commands whose output nobody reads and commands that do not read their input, over a hundred of them, all with full buffers,
// must not hold up another one.
func TestStalledStreamsHoldUpNobody(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	var senders sync.WaitGroup
	var stalled []*guest.Attachment
	input := make([]byte, 1<<20)
	for i := range 64 {
		quiet, err := g.Exec(t.Context(), fmt.Sprint("quiet", i), model.ExecSpec{Argv: []string{"yes"}}, false)
		if err != nil {
			t.Fatal(err)
		}
		deaf, err := g.Exec(t.Context(), fmt.Sprint("deaf", i), model.ExecSpec{Argv: []string{"sleep", "1000"}, Stdin: true}, false)
		if err != nil {
			t.Fatal(err)
		}
		senders.Go(func() {
			// After the command's end what is still sent goes nowhere.
			if err := deaf.Stdin(input); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("Stdin of a command that does not read: %v, want EOF at its end", err)
			}
		})
		stalled = append(stalled, quiet, deaf)
	}
	for range 10 {
		if r := run(t, g, model.ExecSpec{Argv: []string{"echo", "free"}}, false); r.stdout.String() != "free\n" {
			t.Fatalf("echo said %q", r.stdout.String())
		}
		if got, err := g.Ping(t.Context(), []byte("x")); err != nil || string(got) != "x" {
			t.Fatalf("Ping: %q, %v", got, err)
		}
	}
	// A signal reaches a command whose streams are stuck, and its stuck output is still there for a reader.
	for _, a := range stalled {
		if err := a.Signal(9); err != nil {
			t.Fatal(err)
		}
		if r := collect(t, a); r.exit.Signal != 9 {
			t.Errorf("exit = %+v", r.exit)
		}
	}
	senders.Wait()
}

func TestWhatWasSyncedIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	disk := filepath.Join(t.TempDir(), "disk")
	powered := make(chan struct{})
	h := newHost(t, vmmtest.SystemOptions{Disk: disk, PowerOff: func() { close(powered) }})
	g := h.configured(guest.Config{})
	run(t, g, model.ExecSpec{Argv: []string{"put", "file", "text"}}, false)
	if err := g.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	<-powered
	again := newHost(t, vmmtest.SystemOptions{Disk: disk}).configured(guest.Config{})
	if r := run(t, again, model.ExecSpec{Argv: []string{"get", "file"}}, false); r.stdout.String() != "text\n" {
		t.Errorf("after the restart: %q", r.stdout.String())
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	g := newHost(t, vmmtest.SystemOptions{}).configured(guest.Config{})
	took, err := g.Measure(t.Context(), model.ExecSpec{Argv: []string{"true"}}, 5)
	if err != nil || len(took) != 5 {
		t.Fatalf("Measure: %v, %v", took, err)
	}
	if _, err := g.Measure(t.Context(), model.ExecSpec{Argv: []string{"nope"}}, 1); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("Measure of what is not there: %v, want ErrInvalid", err)
	}
}
