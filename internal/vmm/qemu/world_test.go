package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/kvm"
	"banger/internal/vmm/vmmtest"
)

// actVariable makes the test's program a daemon with one VM: it names what the daemon does, and the world. Each is a
// process of its own, so that what another test starts inherits no lock.
const actVariable = "BANGER_TEST_ACT"

const (
	verbLive   = "live"
	verbFail   = "fail"
	verbSettle = "settle"
)

// world is the directory where the VM lives. Its guest halts at once.
type world string

const vmID = model.VMID("abcdefghijklmnop")

func (w world) vm() string     { return filepath.Join(string(w), "vm") }
func (w world) kernel() string { return filepath.Join(string(w), "kernel") }
func (w world) broken() string { return filepath.Join(string(w), "broken") }

func act(args []string) int {
	w := world(args[1])
	do := map[string]func(context.Context) error{verbLive: w.live, verbFail: w.fail, verbSettle: w.settle}[args[0]]
	if err := do(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func (w world) driver() *Driver {
	return New(Options{Cache: filepath.Join(string(w), "cache"), KVM: kvm.Pretend(kvm.Verdict{Slow: "emulated"})})
}

func (w world) start(ctx context.Context, d *Driver, drives ...model.Drive) (vmm.Machine, error) {
	lock, err := procs.TryLock(filepath.Join(w.vm(), vmm.LockName))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	return d.Start(ctx, vmm.Config{
		ID: vmID, Dir: w.vm(), VCPUs: 1, MemoryBytes: model.MinMemoryBytes, Lock: lock,
		Kernel: w.kernel(), Initrd: w.kernel(), Drives: drives,
	})
}

// live leads the VM's life, from its start to its end.
func (w world) live(ctx context.Context) error {
	d := w.driver()
	m, err := w.start(ctx, d)
	if err != nil {
		return err
	}
	return errors.Join(m.Kill(ctx), m.Close(), d.Remove(ctx, vmID, w.vm(), model.Handles{}))
}

// fail has QEMU refuse a drive.
func (w world) fail(ctx context.Context) error {
	m, err := w.start(ctx, w.driver(), model.Drive{Path: w.broken(), Format: "qcow2", Backing: w.kernel(), Serial: model.SerialRoot})
	if err == nil {
		return errors.Join(errors.New("it was started"), m.Kill(ctx), m.Close())
	}
	if !errors.Is(err, model.ErrCorrupt) {
		return err
	}
	return nil
}

// settle is the next daemon's: it ends what lives, takes away what is left, and starts the VM again.
func (w world) settle(ctx context.Context) error {
	if err := errors.Join(vmmtest.TakeAway(ctx, w.driver(), vmID, w.vm()), vmmtest.Empty(w.vm())); err != nil {
		return err
	}
	if err := errors.Join(w.live(ctx), vmmtest.Empty(w.vm())); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	return nil
}
