package storagecall_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/testenv"
)

// alone fails when two verbs for one VM are at work at once.
type alone struct {
	answers
	t  *testing.T
	at *sync.Map
	n  *atomic.Int64
}

func (a alone) enter(id model.VMID) func() {
	if _, there := a.at.LoadOrStore(id, true); there {
		a.t.Errorf("two are at work for %s", id)
	}
	a.n.Add(1)
	time.Sleep(100 * time.Microsecond)
	return func() { a.at.Delete(id) }
}

func (a alone) Attach(_ context.Context, id model.VMID, _, _ *os.File) (storage.Snapshot, error) {
	defer a.enter(id)()
	return storage.Snapshot{ID: id}, nil
}

func (a alone) Detach(_ context.Context, id model.VMID) error {
	defer a.enter(id)()
	return nil
}

func TestCallsForOneVMTakeTurns(t *testing.T) {
	t.Parallel()
	a := alone{t: t, at: &sync.Map{}, n: &atomic.Int64{}}
	c := storagecall.New(servetest.Here(t, service(func(serve.Caller) storagecall.Host { return a })), instance)
	ids := []model.VMID{model.NewVMID(), model.NewVMID()}
	base, cow := pair(t)
	var wait sync.WaitGroup
	const each, workers = 40, 6
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				var err error
				if id := ids[i%2]; w%2 == 0 {
					_, err = c.Attach(context.Background(), id, base, cow)
				} else {
					err = c.Detach(context.Background(), id)
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

// TestTheSilentHoldNobodyUp has almost all connections taken by those who say nothing.
func TestTheSilentHoldNobodyUp(t *testing.T) {
	t.Parallel()
	socket := servetest.Here(t, service(func(serve.Caller) storagecall.Host { return answers{} }))
	for range 40 { // more than are served at once
		conn, err := net.DialUnix(wire.Network, nil, &net.UnixAddr{Name: socket, Net: wire.Network})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := storagecall.New(socket, instance).Detach(ctx, model.NewVMID()); err != nil {
		t.Error(err)
	}
}

func TestAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	s := service(func(serve.Caller) storagecall.Host {
		t.Error("a host was asked for")
		return answers{}
	})
	s.Owner = os.Getuid() + 1
	socket := servetest.Here(t, s)
	c := storagecall.New(socket, instance)
	base, cow := pair(t)
	_, err := c.Attach(t.Context(), model.NewVMID(), base, cow)
	_, lerr := c.List(t.Context())
	for what, err := range map[string]error{"attach": err, "detach": c.Detach(t.Context(), model.NewVMID()), "list": lerr} {
		if !errors.Is(err, model.ErrDenied) {
			t.Errorf("%s: got %v, want ErrDenied", what, err)
		}
	}
	if c.Problem() == "" {
		t.Error("there is no problem for another user")
	}
	_, err = wire.Client{Socket: socket}.Hello(t.Context())
	if root := os.Getuid() == 0; root != (err == nil) { // root looks whether it answers
		t.Errorf("as uid %d: %v", os.Getuid(), err)
	}
}

// askVariable makes the test program one that asks, and ends with what became of it.
const askVariable = "BANGER_TEST_ASK"

func ask() int {
	_, err := wire.Client{Socket: os.Getenv(askVariable)}.Hello(context.Background())
	if errors.Is(err, model.ErrDenied) {
		return 7
	}
	return 8
}

// TestAForeignUIDIsRefused asks as a user who is neither the owner nor root, over a socket that lets everybody in.
func TestAForeignUIDIsRefused(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	socket := servetest.Here(t, service(func(serve.Caller) storagecall.Host { return answers{} }))
	if err := errors.Join(os.Chmod(socket, 0o666), os.Chmod(filepath.Dir(socket), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), askVariable+"="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("it was not refused: %v", err)
	}
}

// owner is an ordinary user who hands over files and changes them meanwhile, over the real host.
type owner struct {
	*storagecall.Client
	between *servetest.Between
	host    *storage.Host
	another string
}

func newOwner(t *testing.T) *owner {
	t.Helper()
	own, between := model.NewInstanceID(), &servetest.Between{}
	host := storage.New(storage.Options{Instance: own, UID: someUser, GID: someUser, Udev: between})
	socket := servetest.Here(t, service(func(serve.Caller) storagecall.Host { return host }))
	return &owner{storagecall.New(socket, own), between, host, servetest.Another(t)}
}

const someUser = 54321 // is nobody here

// files are what fits together, each of the owner's.
func (o *owner) files(t *testing.T) (base, cow *servetest.Owned) {
	t.Helper()
	const size = 1 << 20
	return servetest.Own(t, someUser, size, os.O_RDONLY, o.another), servetest.Own(t, someUser, storage.COWBytes(size), os.O_RDWR, o.another)
}

// attach requires that what is attached, if anything is, is over the two files, and that nothing is left of it afterwards.
func (o *owner) attach(t *testing.T, base, cow *servetest.Owned) error {
	t.Helper()
	id := model.NewVMID()
	s, err := o.Attach(t.Context(), id, base.Handed, cow.Handed)
	if err == nil {
		servetest.Over(t, s.BaseLoop, base.Handed)
		servetest.Over(t, s.COWLoop, cow.Handed)
		if node, err := os.OpenFile(s.Node, os.O_WRONLY, 0); err == nil {
			_, _ = node.Write(make([]byte, 64<<10)) // whether there is room or not
			_ = node.Close()
		}
	}
	derr := o.Detach(t.Context(), id)
	snapshots, lerr := o.host.List(t.Context())
	drives, rerr := o.host.Drives()
	if err := errors.Join(derr, lerr, rerr); err != nil || len(snapshots)+len(drives) > 0 {
		t.Errorf("left: %+v, %+v, %v", snapshots, drives, err)
	}
	return err
}

// TestAFileThatIsChangedBetweenCheckAndUse has each change made just there.
func TestAFileThatIsChangedBetweenCheckAndUse(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	o := newOwner(t)
	if problem := o.host.Problem(); problem != "" {
		t.Skip("not run: needs snapshots: " + problem)
	}
	for n := 0; ; n++ {
		base, cow := o.files(t)
		changes := slices.Concat(base.Changes, cow.Changes)
		if n == len(changes) {
			t.Logf("%d changes", n)
			return
		}
		o.between.Have(changes[n], 0)
		err := o.attach(t, base, cow)
		if !o.between.Had() || changes[n].Aside && err != nil {
			t.Errorf("the %dth, %s: made %t, %v", n, changes[n].Name, o.between.Had(), err)
		}
	}
}

// TestFilesThatChangeAllTheTime are handed over a hundred times.
func TestFilesThatChangeAllTheTime(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	o := newOwner(t)
	made := 0
	const calls = 100
	for n := range calls {
		base, cow := o.files(t)
		stop := servetest.Churn(n, base, cow)
		err := o.attach(t, base, cow)
		stop()
		if err == nil {
			made++
		}
	}
	t.Logf("%d of %d calls attached something", made, calls)
}

func TestServeEndsWhenNobodyAsks(t *testing.T) {
	t.Parallel()
	l, path := servetest.Listen(t)
	s := service(func(serve.Caller) storagecall.Host { return answers{} })
	s.Idle = 100 * time.Millisecond
	conn, err := net.DialUnix(wire.Network, nil, &net.UnixAddr{Name: path, Net: wire.Network})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	select {
	case err := <-done:
		t.Fatalf("it ended with somebody connected: %v", err)
	case <-time.After(5 * s.Idle):
	}
	if err := wire.Send(conn, &helperv1.Call{Verb: serve.Name(&helperv1.HelloRequest{})}); err != nil {
		t.Fatal(err)
	}
	var answer helperv1.Answer
	if _, err := wire.Receive(conn, &answer); err != nil || answer.GetFailure() != nil {
		t.Errorf("%v, %v", err, answer.GetFailure())
	}
	conn.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
