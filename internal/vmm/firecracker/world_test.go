package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/kvm"
	"banger/internal/vmm/vmmtest"
)

// actVariable makes the test's program a daemon with one VM: it names what the daemon does, and the world's kind and
// directory. Each is a process of its own, so that what another test starts inherits no lock.
const actVariable = "BANGER_TEST_ACT"

const (
	verbLive   = "live"
	verbSettle = "settle"
)

// How the VMMs of a world are run, which is its kind.
const (
	unjailed  = "unjailed"  // in no jail
	jailed    = "jailed"    // in one
	unstocked = "unstocked" // in one, where there is no directory for copies
)

// world is where the VM lives, whose VMM is the stand-in.
type world struct{ kind, dir string }

const vmID = model.VMID("abcdefghijklmnop")

func (w world) vm() string    { return filepath.Join(w.dir, "vm") }
func (w world) jails() string { return filepath.Join(w.dir, "jails") }

// noStock has no directory for copies.
type noStock struct{ *pretended }

func (n noStock) Stock() string { return filepath.Join(n.dir, "absent", "stock") }

func act(args []string) int {
	w := world{args[1], args[2]}
	do := w.live
	if args[0] == verbSettle {
		do = w.settle
	}
	if err := do(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func (w world) driver() *Driver {
	self := os.Args[0]
	o := Options{Binary: self, Cache: filepath.Join(w.dir, "cache"), KVM: kvm.Pretend(kvm.Verdict{}), Console: true}
	p := &pretended{dir: w.jails(), program: self}
	switch w.kind {
	case jailed:
		o.Jail = p
	case unstocked:
		o.Jail = noStock{p}
	}
	return New(o)
}

// live leads the VM's life, from its start to the daemon's end.
func (w world) live(ctx context.Context) error {
	d := w.driver()
	lock, err := procs.TryLock(filepath.Join(w.vm(), vmm.LockName))
	if err != nil {
		return err
	}
	m, err := d.Start(ctx, vmm.Config{
		ID: vmID, Slot: 1, Dir: w.vm(), VCPUs: 1, MemoryBytes: 256 * model.MiB, Lock: lock,
		Kernel: filepath.Join(w.dir, fileKernel), Initrd: filepath.Join(w.dir, fileInitrd),
	})
	lock.Close()
	if err != nil {
		return err
	}
	if w.kind == jailed {
		if copies, list := entries(d.stock.dir); len(copies) != 2 { // none is half made
			err = fmt.Errorf("the copies are %v, %v", copies, list)
		}
	}
	return errors.Join(err, m.Kill(ctx), m.Close(), d.Remove(ctx, vmID, w.vm(), model.Handles{}), d.Close())
}

// settle is the next daemon's: it ends what lives, takes away what is left, and starts the VM again.
func (w world) settle(ctx context.Context) error {
	d := w.driver()
	if err := errors.Join(vmmtest.TakeAway(ctx, d, vmID, w.vm()), w.empty(ctx, d)); err != nil {
		return err
	}
	if err := errors.Join(w.live(ctx), w.empty(ctx, d)); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if left, err := entries(w.jails()); err != nil || len(left) > 0 {
		return fmt.Errorf("of jails are left: %v, %v", left, err)
	}
	return nil
}

// empty says what there is of the VM's beside its lock, which nobody may hold.
func (w world) empty(ctx context.Context, d *Driver) error {
	if err := vmmtest.Empty(w.vm()); err != nil {
		return err
	}
	if leaks, err := d.Leaks(ctx, nil); err != nil || len(leaks) > 0 {
		return fmt.Errorf("leaks: %v, %v", leaks, err)
	}
	return nil
}

func entries(dir string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names, err
}
