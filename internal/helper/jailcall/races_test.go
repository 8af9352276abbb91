package jailcall_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/helper/jail"
	"banger/internal/helper/jailcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/model"
)

// owner is an ordinary user who hands over files and changes them meanwhile, over the real jailer.
type owner struct {
	*jailcall.Client
	between *servetest.Between
	host    *jail.Host
	another string
}

func newOwner(t *testing.T) *owner {
	t.Helper()
	dir, cgroups := programs(t)
	t.Cleanup(func() {
		for _, name := range []string{"jail", "stock"} {
			if left, err := os.ReadDir(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left in %s: %v, %v", name, left, err)
			}
		}
	})
	own, between := model.NewInstanceID(), &servetest.Between{}
	host := jail.New(jail.Options{
		Instance: own, UID: user, GID: user, Programs: dir, Dir: filepath.Join(dir, "jail"), Cgroups: cgroups, Controllers: []string{}, Udev: between,
	})
	socket := servetest.Here(t, serve.Service{
		Name: "storage", Owner: os.Getuid(), Log: slog.New(slog.DiscardHandler), Verbs: jailcall.Verbs(&serve.VMs{}, func(serve.Caller) jailcall.Host { return host }),
	})
	return &owner{jailcall.New(socket, own), between, host, servetest.Another(t)}
}

// files are a lock, a log, and two drives, the first of which is only read.
func (o *owner) files(t *testing.T) []*servetest.Owned {
	t.Helper()
	var all []*servetest.Owned
	for _, f := range []struct {
		size  int64
		flags int
	}{{4096, os.O_RDWR}, {-1, os.O_RDWR}, {1 << 20, os.O_RDONLY}, {2 << 20, os.O_RDWR}} {
		all = append(all, servetest.Own(t, user, f.size, f.flags, o.another))
	}
	return all
}

// start requires that what a VMM is given, if it is started, are the files, and that nothing is left of it afterwards.
func (o *owner) start(t *testing.T, files []*servetest.Owned) error {
	t.Helper()
	id := model.NewVMID()
	lock, log, drives := files[0].Handed, files[1].Handed, []*os.File{files[2].Handed, files[3].Handed}
	vm, err := o.Start(t.Context(), id, jail.Spec{
		Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Drives: []jail.Drive{{File: drives[0], ReadOnly: true}, {File: drives[1]}},
	}, lock, log)
	if err == nil {
		for n, f := range []*os.File{lock, log, log} {
			has, herr := os.Stat(filepath.Join("/proc", strconv.Itoa(vm.PID), "fd", strconv.Itoa(n)))
			is, ferr := f.Stat()
			if err := errors.Join(herr, ferr); err != nil || !os.SameFile(has, is) {
				t.Errorf("its descriptor %d is of another file: %v", n, err)
			}
		}
		for n, loop := range vm.Loops {
			servetest.Over(t, loop, drives[n])
		}
		if len(vm.Loops) != len(drives) {
			t.Errorf("its drives are %v", vm.Loops)
		}
		_, _ = ask(filepath.Join(vm.Dir, jail.Socket), "write "+jail.DrivePath(1)) // whether there is room or not
	}
	rerr := o.Remove(context.WithoutCancel(t.Context()), id)
	all, lerr := o.host.List(t.Context())
	if err := errors.Join(rerr, lerr); err != nil || len(all) > 0 {
		t.Errorf("left: %+v, %v", all, err)
	}
	return err
}

// TestAFileThatIsChangedBetweenCheckAndUse has each change made just there.
func TestAFileThatIsChangedBetweenCheckAndUse(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	for n := 0; ; n++ {
		files := o.files(t)
		var changes []servetest.Change
		for _, f := range files {
			changes = slices.Concat(changes, f.Changes)
		}
		if n == len(changes) {
			t.Logf("%d changes", n)
			return
		}
		loop := 0
		if n >= len(changes)-len(files[3].Changes) { // it is checked again when the other drive is there
			loop = 1
		}
		o.between.Have(changes[n], loop)
		err := o.start(t, files)
		if !o.between.Had() || changes[n].Aside && err != nil {
			t.Errorf("the %dth, %s: made %t, %v", n, changes[n].Name, o.between.Had(), err)
		}
	}
}

// TestFilesThatChangeAllTheTime are handed over many times.
func TestFilesThatChangeAllTheTime(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	made := 0
	const calls = 60
	for n := range calls {
		files := o.files(t)
		stop := servetest.Churn(n, files...)
		err := o.start(t, files)
		stop()
		if err == nil {
			made++
		}
	}
	t.Logf("%d of %d calls started something", made, calls)
}

// TestADiskStaysWhileItsVMMRuns, which was given the number of the disk's device.
func TestADiskStaysWhileItsVMMRuns(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	id := model.NewVMID()
	disks := storage.New(storage.Options{Instance: model.NewInstanceID(), UID: user, GID: user, Jails: o.host})
	files := o.files(t)
	spec := jail.Spec{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB}
	if _, err := o.Start(t.Context(), id, spec, files[0].Handed, files[1].Handed); err != nil {
		t.Fatal(err)
	}
	if err := disks.Detach(t.Context(), id); !errors.Is(err, model.ErrState) {
		t.Errorf("while it runs: %v", err)
	}
	if err := errors.Join(o.Remove(t.Context(), id), disks.Detach(t.Context(), id)); err != nil {
		t.Error(err)
	}
}

// beginning is a host whose Start waits until its context ends.
type beginning struct {
	jailcall.Host
	began chan struct{}
	over  *atomic.Bool
}

func (b beginning) Start(ctx context.Context, _ model.VMID, _ jail.Spec, _, _ *os.File) (jail.VM, error) {
	close(b.began)
	<-ctx.Done()
	b.over.Store(true)
	return jail.VM{}, ctx.Err()
}

// afterwards is a host whose Detach comes when a Start is over.
type afterwards struct {
	storagecall.Host
	over *atomic.Bool
}

func (a afterwards) Detach(context.Context, model.VMID) error {
	if !a.over.Load() {
		return errors.New("a disk is detached while its jail is made")
	}
	return nil
}

// TestADiskStaysWhileItsJailIsMade has a Detach wait for a Start, as in the service.
func TestADiskStaysWhileItsJailIsMade(t *testing.T) {
	t.Parallel()
	var over atomic.Bool
	vms, b := &serve.VMs{}, beginning{began: make(chan struct{}), over: &over}
	verbs := jailcall.Verbs(vms, func(serve.Caller) jailcall.Host { return b })
	verbs = append(verbs, storagecall.Verbs(vms, func(serve.Caller) storagecall.Host { return afterwards{over: &over} })...)
	socket := servetest.Here(t, serve.Service{Name: "storage", Owner: os.Getuid(), Log: slog.New(slog.DiscardHandler), Verbs: verbs})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started, detached, lock, log := make(chan error, 1), make(chan error, 1), file(t, 0, os.O_RDWR), fifo(t, os.O_RDWR)
	go func() {
		_, err := jailcall.New(socket, instance).Start(ctx, someVM, jail.Spec{}, lock, log)
		started <- err
	}()
	<-b.began
	go func() { detached <- storagecall.New(socket, instance).Detach(t.Context(), someVM) }()
	select {
	case err := <-detached:
		detached <- err
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if err := <-started; !errors.Is(err, model.ErrCanceled) {
		t.Errorf("got %v, want ErrCanceled", err)
	}
	if err := <-detached; err != nil {
		t.Error(err)
	}
}
