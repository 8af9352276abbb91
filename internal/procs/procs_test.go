package procs_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"banger/internal/model"
	"banger/internal/procs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sleeper is a process that does nothing until it is killed. It is not ours to reap: tests of strangers need a parent
// that is not procs.
func sleeper(t *testing.T, stdin *os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

func identity(t *testing.T, pid int) model.Process {
	t.Helper()
	p, err := procs.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	self, err := procs.Self()
	if err != nil {
		t.Fatal(err)
	}
	if self.PID != os.Getpid() || self.StartTime == 0 || len(self.BootID) != 36 || !procs.Alive(self) {
		t.Fatalf("the identity of this process is %+v", self)
	}
	other := self
	other.StartTime++
	if procs.Alive(other) {
		t.Fatal("a process with another start time is said to live")
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if _, err := procs.Of(pid); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

func TestZombieIsDead(t *testing.T) {
	t.Parallel()
	cmd := sleeper(t, nil)
	p := identity(t, cmd.Process.Pid)
	h, err := procs.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Kill(t.Context()); err != nil { // nobody has waited for it: it is a zombie now
		t.Fatal(err)
	}
	if procs.Alive(p) {
		t.Error("a zombie is said to live")
	}
	if _, err := procs.Open(p); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("a zombie can be opened: %v", err)
	}
	if err := h.Signal(syscall.SIGTERM); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("a zombie can be signalled: %v", err)
	}
	if err := h.Kill(t.Context()); err != nil {
		t.Errorf("the second kill: %v", err)
	}
}

func TestOpenRefusesAnotherProcess(t *testing.T) {
	t.Parallel()
	good := identity(t, sleeper(t, nil).Process.Pid)
	for name, change := range map[string]func(*model.Process){
		"start time": func(p *model.Process) { p.StartTime-- },
		"boot":       func(p *model.Process) { p.BootID = "00000000-0000-0000-0000-000000000000" },
		"empty":      func(p *model.Process) { *p = model.Process{} },
		"pid only":   func(p *model.Process) { *p = model.Process{PID: p.PID} },
	} {
		bad := good
		change(&bad)
		if _, err := procs.Open(bad); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !procs.Alive(good) {
		t.Error("the process did not survive")
	}
}

func TestCloseDoesNotDisturb(t *testing.T) {
	t.Parallel()
	p := identity(t, sleeper(t, nil).Process.Pid)
	h, err := procs.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.Done():
		t.Error("closing a handle says that the process is dead")
	default:
	}
	if err := h.Signal(syscall.SIGKILL); err == nil {
		t.Error("a closed handle still signals")
	}
	if !procs.Alive(p) {
		t.Error("the process did not survive")
	}
}

func TestKillEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h, err := procs.Open(identity(t, sleeper(t, nil).Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Kill(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestChildIsReaped(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	c, err := procs.Start(path, []string{"sh", "-c", "exit 7"}, os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // it is reaped all the same
	<-c.Reaped()
	if code := c.State().ExitCode(); code != 7 {
		t.Errorf("exit code %d", code)
	}
	if procs.Alive(c.Process()) {
		t.Error("the child is said to live")
	}
	if err := c.Kill(t.Context()); err != nil {
		t.Errorf("killing a dead child: %v", err)
	}
	if _, err := procs.Start("/nonexistent", []string{"x"}, os.ProcAttr{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing program: %v", err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	locked := func(want bool) {
		t.Helper()
		if got, err := procs.Locked(path); err != nil || got != want {
			t.Fatalf("locked: %v, %v; want %v", got, err, want)
		}
	}
	locked(false)
	f, err := procs.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	locked(true)
	if _, err := procs.TryLock(path); !errors.Is(err, model.ErrUnavailable) {
		t.Fatalf("a second lock: %v", err)
	}
	// The lock outlives our descriptor in a child that has it as its standard input, and ends with it.
	h, err := procs.Open(identity(t, sleeper(t, f).Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	f.Close()
	locked(true)
	if err := h.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	locked(false)
}

func TestHolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	f, err := procs.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	innocent := identity(t, sleeper(t, nil).Process.Pid)
	holder := identity(t, sleeper(t, f).Process.Pid)
	f.Close()
	stale := holder
	stale.StartTime++
	for name, hints := range map[string][]model.Process{
		"right": {holder}, "none": nil, "empty": {{}}, "innocent": {innocent}, "stale": {stale}, "second": {innocent, holder},
	} {
		h, err := procs.Holder(path, hints...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h.Process() != holder {
			t.Errorf("%s: found %+v, not %+v", name, h.Process(), holder)
		}
		h.Close()
	}
	h, err := procs.Open(holder)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := procs.Holder(path, holder, innocent); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("with the holder dead: %v", err)
	}
	if !procs.Alive(innocent) {
		t.Error("the innocent process did not survive")
	}
}

// TestLockHolder runs by itself, as the next one does: a program that another test starts would hold the lock for a moment.
func TestLockHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	holder := func(want int) {
		t.Helper()
		if pid, err := procs.LockHolder(path); err != nil || pid != want {
			t.Fatalf("the holder is %d, %v; want %d", pid, err, want)
		}
	}
	holder(0)
	lock, err := procs.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	holder(os.Getpid())
	other, err := procs.TryLock(path + "2")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lock.Close()
	holder(0)
	// Shared by two, it has no holder, and both are told.
	for range 2 {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
			t.Fatal(err)
		}
	}
	holder(0)
	shared := procs.Locker{PID: os.Getpid()}
	if all, err := procs.Lockers(path); err != nil || len(all) != 2 || all[0] != shared || all[1] != shared {
		t.Errorf("%+v, %v; want two times %+v", all, err, shared)
	}
}

func TestLookingAtALockTakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	// A lock can be had while others look, which Locked does not promise.
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = procs.LockHolder(path)
			}
		}
	}()
	for range 200 {
		lock, err := procs.TryLock(path)
		if err != nil {
			t.Errorf("a look was in the way of a lock: %v", err)
			break
		}
		lock.Close()
	}
	close(stop)
	<-done
}

func TestThisHostIsSupported(t *testing.T) {
	t.Parallel()
	if err := procs.Supported(); err != nil {
		t.Error(err)
	}
}
