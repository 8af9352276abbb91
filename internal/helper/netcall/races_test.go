package netcall_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
)

// alone fails when two changes of one installation are at work at once.
type alone struct {
	answers
	t        *testing.T
	instance model.InstanceID
	at       *sync.Map
	n        *atomic.Int64
}

func (a alone) enter() func() {
	if _, there := a.at.LoadOrStore(a.instance, true); there {
		a.t.Errorf("two are at work for %s", a.instance)
	}
	a.n.Add(1)
	time.Sleep(100 * time.Microsecond)
	return func() { a.at.Delete(a.instance) }
}

func (a alone) Attach(context.Context, model.VMID, int, hostnet.Rules) (hostnet.Port, error) {
	defer a.enter()()
	return hostnet.Port{}, nil
}

func (a alone) Open(context.Context, model.VMID) (*os.File, error) {
	defer a.enter()()
	return os.Open("/dev/null")
}

func (a alone) Detach(context.Context, model.VMID) error {
	defer a.enter()()
	return nil
}

func (a alone) ListenNames(ctx context.Context) (hostnet.Sockets, error) {
	defer a.enter()()
	return a.answers.ListenNames(ctx)
}

func (a alone) Sweep(context.Context, map[model.VMID]bool) error {
	defer a.enter()()
	return nil
}

func (a alone) Prepare(context.Context) error {
	defer a.enter()()
	return nil
}

func TestChangesOfOneInstallationTakeTurns(t *testing.T) {
	t.Parallel()
	a := alone{t: t, at: &sync.Map{}, n: &atomic.Int64{}}
	socket := servetest.Here(t, service(func(c serve.Caller) netcall.Host {
		of := a
		of.instance = c.Instance
		return of
	}))
	clients := []*netcall.Client{netcall.New(socket, model.NewInstanceID()), netcall.New(socket, model.NewInstanceID())}
	var wait sync.WaitGroup
	const each, workers = 40, 12
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				c, id := clients[i%2], model.NewVMID()
				var err error
				switch w % 6 {
				case 0:
					_, err = c.Attach(context.Background(), id, 1, hostnet.Rules{})
				case 1:
					var f *os.File
					if f, err = c.Open(context.Background(), id); err == nil {
						err = f.Close()
					}
				case 2:
					err = c.Detach(context.Background(), id)
				case 3:
					err = c.Sweep(context.Background(), nil)
				case 4:
					var at hostnet.Sockets
					if at, err = c.ListenNames(context.Background()); err == nil {
						err = errors.Join(at.UDP.Close(), at.TCP.Close())
					}
				case 5:
					err = c.Prepare(context.Background())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := a.n.Load(); n != each*workers {
		t.Errorf("%d of %d calls were done", n, each*workers)
	}
}

// slow is a host whose Detach and Recycle wait until their context ends.
type slow struct {
	answers
	began, ended chan struct{}
}

func (s slow) Detach(ctx context.Context, _ model.VMID) error { return s.wait(ctx) }

func (s slow) Recycle(ctx context.Context) error { return s.wait(ctx) }

func (s slow) wait(ctx context.Context) error {
	close(s.began)
	<-ctx.Done()
	close(s.ended)
	return ctx.Err()
}

// TestNobodyWaitsForRecycling has one that goes on while a VM is attached.
func TestNobodyWaitsForRecycling(t *testing.T) {
	t.Parallel()
	s := slow{began: make(chan struct{}), ended: make(chan struct{})}
	c := netcall.New(servetest.Here(t, service(func(serve.Caller) netcall.Host { return s })), instance)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Recycle(ctx) }()
	<-s.began
	if _, err := c.Attach(t.Context(), model.NewVMID(), 1, hostnet.Rules{}); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v, want ErrCanceled", err)
	}
	<-s.ended
}

// TestAVerbEndsWithItsCaller also has another call give up waiting for the turn, and a third that is of another installation.
func TestAVerbEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	s := slow{began: make(chan struct{}), ended: make(chan struct{})}
	socket := servetest.Here(t, service(func(serve.Caller) netcall.Host { return s }))
	c := netcall.New(socket, instance)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.began
		short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		if _, err := c.Attach(short, model.NewVMID(), 1, hostnet.Rules{}); !errors.Is(err, model.ErrTimeout) {
			t.Errorf("in its turn: %v", err)
		}
		if _, err := netcall.New(socket, model.NewInstanceID()).Attach(t.Context(), model.NewVMID(), 1, hostnet.Rules{}); err != nil {
			t.Errorf("of another installation: %v", err)
		}
		cancel()
	}()
	if err := c.Detach(ctx, model.NewVMID()); !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v, want ErrCanceled", err)
	}
	<-s.ended
}

func TestAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	s := service(func(serve.Caller) netcall.Host {
		t.Error("a host was asked for")
		return answers{}
	})
	s.Owner = os.Getuid() + 1
	c := netcall.New(servetest.Here(t, s), instance)
	_, aerr := c.Attach(t.Context(), model.NewVMID(), 1, hostnet.Rules{})
	_, oerr := c.Open(t.Context(), model.NewVMID())
	_, lerr := c.List(t.Context())
	for what, err := range map[string]error{
		"attach": aerr, "open": oerr, "list": lerr, "detach": c.Detach(t.Context(), model.NewVMID()), "sweep": c.Sweep(t.Context(), nil),
		"recycle": c.Recycle(t.Context()), "prepare": c.Prepare(t.Context()),
	} {
		if !errors.Is(err, model.ErrDenied) {
			t.Errorf("%s: got %v, want ErrDenied", what, err)
		}
	}
	if c.Problem() == "" {
		t.Error("there is no problem for another user")
	}
}
