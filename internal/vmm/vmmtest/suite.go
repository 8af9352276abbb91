package vmmtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/guest"
	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// Harness is what the suite needs to know of a driver.
type Harness struct {
	// New returns a driver as a daemon that has just started has it; a second one is that daemon's successor.
	New func(t *testing.T) vmm.Driver
	// Config returns a VM that boots to its agent. The suite fills in ID, Dir and Lock.
	Config func(t *testing.T) vmm.Config
	// Guest makes the guest able to run commands; nil when the configuration has no root for that.
	Guest *guest.Config
	// Console is a text that the guest's first lines hold.
	Console string
	// Rounds is how often a VM is started and killed in search of leaks; 0 for 20.
	Rounds int
	// Boot bounds the wait for a guest's agent; 0 for a minute.
	Boot time.Duration
}

// Run holds a driver to the contract of package vmm.
func Run(t *testing.T, h Harness) {
	if h.Rounds == 0 {
		h.Rounds = 20
	}
	if h.Boot == 0 {
		h.Boot = time.Minute
	}
	s := suite{h}
	for _, test := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"Life", s.life}, {"PowerOff", s.powerOff}, {"KilledByAnother", s.killedByAnother},
		{"SecondAgent", s.secondAgent}, {"Console", s.console}, {"LongPath", s.longPath},
		{"Find", s.find}, {"FindNobody", s.findNobody}, {"FindStopped", s.findStopped}, {"PowerOffAdopted", s.powerOffAdopted},
		{"FailedStart", s.failedStart}, {"CanceledStart", s.canceledStart}, {"Remove", s.remove},
	} {
		t.Run(test.name, test.run)
	}
	t.Run("Leaks", s.leaks) // counts this process's descriptors: nothing else may run beside it
}

type suite struct{ Harness }

// vm is one VM of the suite.
type testVM struct {
	suite
	t      *testing.T
	driver vmm.Driver
	config vmm.Config
	vmm.Machine
}

// config returns a VM that is not started, in a directory of its own.
func (s suite) config(t *testing.T, dir string) vmm.Config {
	t.Helper()
	c := s.Config(t)
	c.ID, c.Dir = model.NewVMID(), dir
	return c
}

// start runs c as the service does: with the lock taken before, and let go of after.
func (s suite) start(t *testing.T, c vmm.Config) *testVM {
	t.Helper()
	v := &testVM{suite: s, t: t, driver: s.New(t), config: c}
	m, err := startLocked(t.Context(), v.driver, c)
	if err != nil {
		t.Fatal(err)
	}
	v.Machine = m
	t.Cleanup(func() {
		if err := errors.Join(v.Kill(context.Background()), v.Close()); err != nil {
			t.Error(err)
		}
	})
	return v
}

func startLocked(ctx context.Context, d vmm.Driver, c vmm.Config) (vmm.Machine, error) {
	lock, err := procs.TryLock(filepath.Join(c.Dir, vmm.LockName))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	c.Lock = lock
	return d.Start(ctx, c)
}

// restart is a new daemon that finds the VM; the old one has let go of it.
func (v *testVM) restart(hint model.Handles) {
	v.t.Helper()
	if err := v.Close(); err != nil {
		v.t.Fatal(err)
	}
	before := v.Process()
	m, err := v.New(v.t).Find(v.t.Context(), v.config.ID, v.config.Dir, hint)
	if err != nil {
		v.t.Fatal(err)
	}
	v.Machine = m
	if m.Process() != before {
		v.t.Fatalf("found %+v in place of %+v", m.Process(), before)
	}
}

// connect reaches the agent.
func (v *testVM) connect() *guest.Guest {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), v.Boot)
	defer cancel()
	conn, err := v.Agent(ctx)
	if err != nil {
		v.t.Fatal(err)
	}
	g, err := guest.Connect(ctx, conn)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { g.Close() })
	return g
}

func (v *testVM) ping(g *guest.Guest) {
	v.t.Helper()
	want := []byte(v.config.ID)
	if got, err := g.Ping(v.t.Context(), want); err != nil || !bytes.Equal(got, want) {
		v.t.Fatalf("the agent answers %q, %v", got, err)
	}
}

// dead waits for the end and checks its traces.
func (v *testVM) dead(want model.ExitReason) {
	v.t.Helper()
	select {
	case <-v.Done():
	case <-time.After(v.Boot):
		v.t.Fatal("the VMM does not end")
	}
	if got := v.Exit(); got.Reason != want {
		v.t.Errorf("it ended because %v", got)
	}
	if procs.Alive(v.Process()) {
		v.t.Error("its process lives after Done")
	}
	v.locked(false)
}

func (v *testVM) locked(want bool) {
	v.t.Helper()
	if got, err := procs.Locked(filepath.Join(v.config.Dir, vmm.LockName)); err != nil || got != want {
		v.t.Errorf("its lock is held: %v, %v", got, err)
	}
}

func (s suite) life(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	v.locked(true)
	if self, err := procs.Self(); err != nil || !procs.Alive(v.Process()) || v.Process() == self {
		t.Fatalf("its process is %+v, %v", v.Process(), err)
	}
	select {
	case <-v.Done():
		t.Fatalf("it is done: %v", v.Exit())
	default:
	}
	g := v.connect()
	v.ping(g)
	if s.Guest != nil {
		v.echo(g)
	}
	if err := v.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.dead(model.ExitKilled)
	if err := v.Kill(t.Context()); err != nil {
		t.Errorf("the second kill: %v", err)
	}
	if _, err := v.Agent(t.Context()); err == nil {
		t.Error("a dead VMM's agent is there")
	}
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Error(err)
	}
}

func (v *testVM) echo(g *guest.Guest) {
	v.t.Helper()
	c := *v.Guest
	c.Generation = 1
	if err := g.Configure(v.t.Context(), c); err != nil {
		v.t.Fatal(err)
	}
	a, err := g.Exec(v.t.Context(), "echo-1", model.ExecSpec{Argv: []string{"echo", "hello"}}, false)
	if err != nil {
		v.t.Fatal(err)
	}
	defer a.Close()
	var said []byte
	for {
		out, err := a.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			v.t.Fatal(err)
		}
		said = append(said, out.Stdout...)
		if out.Exit != nil && out.Exit.Code != 0 {
			v.t.Errorf("echo ended with %+v", *out.Exit)
		}
	}
	if string(said) != "hello\n" {
		v.t.Errorf("echo said %q", said)
	}
}

func (s suite) powerOff(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	if err := v.connect().Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	v.dead(model.ExitPowerOff)
}

func (s suite) powerOffAdopted(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	v.restart(model.Handles{VMM: v.Process()})
	if err := v.connect().Stop(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	v.dead(model.ExitPowerOff)
}

func (s suite) killedByAnother(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	h, err := procs.Open(v.Process())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	v.dead(model.ExitKilled)
}

func (s suite) secondAgent(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	first := v.connect()
	second := v.connect()
	v.ping(second)
	select {
	case <-first.Done():
	case <-time.After(s.Boot):
		t.Error("the first connection is still there beside the second")
	}
	second.Close()
	v.ping(v.connect())
}

func (s suite) console(t *testing.T) {
	v := s.start(t, s.config(t, t.TempDir()))
	consoler, ok := v.Machine.(vmm.Consoler)
	if !ok || !v.driver.Features(t.Context()).Console {
		t.Skip("not run: the driver has no console")
	}
	r, err := consoler.Console()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	v.connect() // the guest has said what it has to say
	stop := time.AfterFunc(s.Boot, func() { _ = v.Kill(context.Background()) })
	defer stop.Stop()
	var said []byte
	for !bytes.Contains(said, []byte(s.Console)) {
		chunk := make([]byte, 4096)
		n, err := r.Read(chunk)
		if said = append(said, chunk[:n]...); err != nil {
			break
		}
	}
	if !bytes.Contains(said, []byte(s.Console)) {
		t.Errorf("the console does not say %q: %q", s.Console, said)
	}
}

func (s suite) longPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	v := s.start(t, s.config(t, dir))
	v.ping(v.connect())
	v.restart(model.Handles{})
	v.ping(v.connect())
}

func (s suite) remove(t *testing.T) {
	c := s.config(t, t.TempDir())
	d := s.New(t)
	if err := d.Remove(t.Context(), c.ID, c.Dir, model.Handles{}); err != nil {
		t.Errorf("removing what never was: %v", err)
	}
	v := s.start(t, c)
	if err := v.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Remove(t.Context(), c.ID, c.Dir, model.Handles{VMM: v.Process()}); err != nil {
			t.Error(err)
		}
	}
	wantOnlyLock(t, c.Dir)
	if err := d.Remove(t.Context(), c.ID, filepath.Join(c.Dir, "absent"), model.Handles{}); err != nil {
		t.Errorf("removing in a directory that is gone: %v", err)
	}
	if err := d.Sweep(t.Context(), map[model.VMID]bool{}); err != nil {
		t.Error(err)
	}
}

// wantOnlyLock checks that a VM's directory holds no socket and no other trace of a VMM.
func wantOnlyLock(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != vmm.LockName && e.Name() != fakeDisk && e.Name() != fakeFiles {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}

// innocent is a process that has nothing to do with any VM.
func innocent(t *testing.T) model.Process {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p, err := procs.Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
