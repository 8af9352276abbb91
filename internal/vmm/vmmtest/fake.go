package vmmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"io/fs"

	"os"
	"path/filepath"
	"syscall"
	"time"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/procs"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
)

// Behaviour is how a fake VMM and its guest act.
type Behaviour string

// The behaviours. All but the first are faults.
const (
	Normal      Behaviour = ""
	NeverReady  Behaviour = "never-ready"  // the agent takes connections and says nothing
	Rubbish     Behaviour = "rubbish"      // the agent answers with random bytes
	ExitAtOnce  Behaviour = "exit-at-once" // the VMM fails before the guest runs
	PanicAtBoot Behaviour = "panic"        // the guest kernel panics before the agent is there
	ResetAtBoot Behaviour = "reset"        // the guest reboots before the agent is there
	Flood       Behaviour = "flood"        // the console and the agent never stop talking
	LateTimer   Behaviour = "late-timer"   // the guest kernel's timers take twice as long as asked for
	NoTimer     Behaviour = "no-timer"     // it has none
)

// FakeOptions shape a Fake.
type FakeOptions struct {
	Behaviour func(vmm.Config) Behaviour // asked at each start; nil for Normal
	Version   string                     // what the guests' agent says of itself
	Problem   string                     // Features.Problem, for a host that cannot run it
	Slow      string                     // Features.Slow
}

// Fake is a vmm.Driver whose VMM is the calling program run again: a process of its own that holds the VM's lock, serves
// the real agent over a Fake guest (System) and outlives whoever started it. It proves package vm, never a driver.
//
// The program's main or TestMain must call RunIfFake before anything else.
type Fake struct{ options FakeOptions }

// NewFake returns a driver.
func NewFake(o FakeOptions) *Fake { return &Fake{options: o} }

// Name returns "fake".
func (f *Fake) Name() string { return "fake" }

// Features tells that it runs everywhere.
func (f *Fake) Features(context.Context) vmm.Features {
	return vmm.Features{
		Version: "1", Accel: "none", Slow: f.options.Slow, Problem: f.options.Problem,
		Links: []network.LinkKind{network.LinkNone}, Formats: []string{"raw", "qcow2"}, Console: true,
	}
}

// The sockets of a fake VMM in a VM's directory, in the order of their descriptors from 3 on.
const (
	fakeMonitor = "fake.monitor"
	fakeConsole = "fake.console"
	fakeAgent   = "fake.agent"
	fakeDisk    = "fake.disk"         // what the guest has synced
	fakeFiles   = fakeDisk + ".files" // its files
)

var fakeSockets = [...]string{fakeMonitor, fakeConsole, fakeAgent}

// Start runs a fake VMM. Like a real one it insists on its files.
func (f *Fake) Start(ctx context.Context, c vmm.Config) (vmm.Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, model.Errorf(model.ErrCanceled, "cannot start the VM: %w", err)
	}
	if err := f.Features(ctx).Err("start the VM"); err != nil {
		return nil, err
	}
	if err := checkFiles(c); err != nil {
		return nil, err
	}
	m, err := f.spawn(ctx, c)
	if err == nil {
		err = m.started(ctx)
	}
	if err != nil {
		if m != nil {
			// The bound is for a process stuck in the kernel; a fake one never is.
			kill, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			err = errors.Join(err, m.Kill(kill), m.Close())
		}
		return nil, errors.Join(err, f.Remove(context.WithoutCancel(ctx), c.ID, c.Dir, model.Handles{}))
	}
	return m, nil
}

func checkFiles(c vmm.Config) error {
	if !c.ID.Valid() || c.VCPUs < 1 || c.MemoryBytes < model.MinMemoryBytes || c.Lock == nil {
		return model.Errorf(model.ErrInvalid, "cannot start the VM: its configuration is not complete")
	}
	paths := []string{c.Kernel, c.Initrd}
	for _, d := range c.Drives {
		paths = append(paths, d.Path)
		if d.Backing != "" {
			paths = append(paths, d.Backing)
		}
	}
	for _, p := range paths {
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			return model.Errorf(model.ErrNotFound, "cannot start the VM: %w", err)
		} else if err != nil {
			return fmt.Errorf("cannot start the VM: %w", err)
		}
	}
	return nil
}

func (f *Fake) spawn(ctx context.Context, c vmm.Config) (_ *fakeMachine, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{c.Lock, null, null}
	for _, name := range fakeSockets {
		l, err := unixsocket.Listen(filepath.Join(c.Dir, name))
		if err != nil {
			return nil, fmt.Errorf("cannot start the VM: %w", err)
		}
		defer l.Close()
		file, err := l.File()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		files = append(files, file)
	}
	m := newFakeMachine(c.Dir)
	if err := m.connect(ctx); err != nil {
		m.Close()
		return nil, err
	}
	orders := fakeOrders{ID: c.ID, Disk: filepath.Join(c.Dir, fakeDisk), Version: f.options.Version}
	if f.options.Behaviour != nil {
		orders.Behaviour = f.options.Behaviour(c)
	}
	raw, err := json.Marshal(orders)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	child, err := procs.Start(self, []string{"banger-fake-vmm", string(c.ID)}, os.ProcAttr{
		Dir: "/", Env: []string{fakeVariable + "=" + string(raw)}, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.child = child
	m.hold(child)
	return m, nil
}

// Find adopts the fake VMM that holds the lock in dir, as a real driver does.
func (f *Fake) Find(ctx context.Context, _ model.VMID, dir string, hint model.Handles) (vmm.Machine, error) {
	hints := []model.Process{hint.VMM}
	if conn, err := unixsocket.Dial(ctx, filepath.Join(dir, fakeMonitor)); err == nil {
		if _, pid, err := unixsocket.PeerCred(conn); err == nil {
			if p, err := procs.Of(pid); err == nil {
				hints = append(hints, p)
			}
		}
		conn.Close()
	}
	handle, err := procs.Holder(filepath.Join(dir, vmm.LockName), hints...)
	if err != nil {
		return nil, err
	}
	m := newFakeMachine(dir)
	// One that is stopped cannot be reached, yet is adopted: it can be killed.
	_ = m.connect(ctx)
	m.hold(handle)
	return m, nil
}

// Remove takes away a dead VMM's sockets. The guest's disk is not the VMM's.
func (f *Fake) Remove(_ context.Context, _ model.VMID, dir string, _ model.Handles) error {
	var errs []error
	for _, name := range fakeSockets {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Sweep has nothing to do.
func (f *Fake) Sweep(context.Context, map[model.VMID]bool) error { return nil }

var (
	_ vmm.Driver   = (*Fake)(nil)
	_ vmm.Consoler = (*fakeMachine)(nil)
)
