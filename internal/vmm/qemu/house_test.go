package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/kvm"
)

// houseVariable makes the test's program a daemon with one VM: it names what the daemon does, and the house. Each is a
// process of its own, so that what another test starts inherits no lock.
const houseVariable = "BANGER_TEST_HOUSE"

const (
	verbLive   = "live"
	verbFail   = "fail"
	verbSettle = "settle"
)

// house is the directory where the VM lives. Its guest halts at once.
type house string

const tenant = model.VMID("abcdefghijklmnop")

func (h house) vm() string     { return filepath.Join(string(h), "vm") }
func (h house) kernel() string { return filepath.Join(string(h), "kernel") }
func (h house) broken() string { return filepath.Join(string(h), "broken") }

func inHouse(args []string) int {
	h := house(args[1])
	do := map[string]func(context.Context) error{verbLive: h.live, verbFail: h.fail, verbSettle: h.settle}[args[0]]
	if err := do(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func (h house) driver() *Driver {
	return New(Options{Cache: filepath.Join(string(h), "cache"), KVM: kvm.Pretend(kvm.Verdict{Slow: "emulated"})})
}

func (h house) start(ctx context.Context, d *Driver, drives ...model.Drive) (vmm.Machine, error) {
	lock, err := procs.TryLock(filepath.Join(h.vm(), vmm.LockName))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	return d.Start(ctx, vmm.Config{
		ID: tenant, Dir: h.vm(), VCPUs: 1, MemoryBytes: model.MinMemoryBytes, Lock: lock,
		Kernel: h.kernel(), Initrd: h.kernel(), Drives: drives,
	})
}

// live leads the VM's life, from its start to its end.
func (h house) live(ctx context.Context) error {
	d := h.driver()
	m, err := h.start(ctx, d)
	if err != nil {
		return err
	}
	return errors.Join(m.Kill(ctx), m.Close(), d.Remove(ctx, tenant, h.vm(), model.Handles{}))
}

// fail has QEMU refuse a drive.
func (h house) fail(ctx context.Context) error {
	m, err := h.start(ctx, h.driver(), model.Drive{Path: h.broken(), Format: "qcow2", Backing: h.kernel(), Serial: model.SerialRoot})
	if err == nil {
		return errors.Join(errors.New("it was started"), m.Kill(ctx), m.Close())
	}
	if !errors.Is(err, model.ErrCorrupt) {
		return err
	}
	return nil
}

// settle is the next daemon's: it ends what lives, takes away what is left, and starts the VM again.
func (h house) settle(ctx context.Context) error {
	d := h.driver()
	m, err := d.Find(ctx, tenant, h.vm(), model.Handles{})
	switch {
	case err == nil:
		err = errors.Join(m.Kill(ctx), m.Close())
	case errors.Is(err, model.ErrNotFound):
		err = nil
	}
	if err = errors.Join(err, d.Remove(ctx, tenant, h.vm(), model.Handles{}), h.empty()); err != nil {
		return err
	}
	if err := errors.Join(h.live(ctx), h.empty()); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	return nil
}

// empty says what there is of the VM's beside its lock, which nobody may hold.
func (h house) empty() error {
	if held, err := procs.Locked(filepath.Join(h.vm(), vmm.LockName)); err != nil || held {
		return fmt.Errorf("a VMM lives: %t, %v", held, err)
	}
	left, err := os.ReadDir(h.vm())
	left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == vmm.LockName })
	if err != nil || len(left) > 0 {
		return fmt.Errorf("left: %v, %v", left, err)
	}
	return nil
}
