package firecracker

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

// houseVariable makes the test's program a daemon with one VM: it names what the daemon does, and the house's kind and
// directory. Each is a process of its own, so that what another test starts inherits no lock.
const houseVariable = "BANGER_TEST_HOUSE"

const (
	verbLive   = "live"
	verbSettle = "settle"
)

// How the VMMs of a house are run.
const (
	alone   = "alone"   // in no jail
	jailed  = "jailed"  // in one
	stinted = "stinted" // in one, where there is no directory for copies
)

// house is where the VM lives, whose VMM is the stand-in.
type house struct{ kind, dir string }

const tenant = model.VMID("abcdefghijklmnop")

func (h house) vm() string    { return filepath.Join(h.dir, "vm") }
func (h house) jails() string { return filepath.Join(h.dir, "jails") }

// stint has no directory for copies.
type stint struct{ *pretended }

func (s stint) Stock() string { return filepath.Join(s.dir, "absent", "stock") }

func inHouse(args []string) int {
	h := house{args[1], args[2]}
	do := h.live
	if args[0] == verbSettle {
		do = h.settle
	}
	if err := do(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func (h house) driver() *Driver {
	self := os.Args[0]
	o := Options{Binary: self, Cache: filepath.Join(h.dir, "cache"), KVM: kvm.Pretend(kvm.Verdict{}), Console: true}
	p := &pretended{dir: h.jails(), program: self}
	switch h.kind {
	case jailed:
		o.Jail = p
	case stinted:
		o.Jail = stint{p}
	}
	return New(o)
}

// live leads the VM's life, from its start to the daemon's end.
func (h house) live(ctx context.Context) error {
	d := h.driver()
	lock, err := procs.TryLock(filepath.Join(h.vm(), vmm.LockName))
	if err != nil {
		return err
	}
	m, err := d.Start(ctx, vmm.Config{
		ID: tenant, Slot: 1, Dir: h.vm(), VCPUs: 1, MemoryBytes: 256 * model.MiB, Lock: lock,
		Kernel: filepath.Join(h.dir, fileKernel), Initrd: filepath.Join(h.dir, fileInitrd),
	})
	lock.Close()
	if err != nil {
		return err
	}
	if h.kind == jailed {
		if copies, list := entries(d.stock.dir); len(copies) != 2 { // none is half made
			err = fmt.Errorf("the copies are %v, %v", copies, list)
		}
	}
	return errors.Join(err, m.Kill(ctx), m.Close(), d.Remove(ctx, tenant, h.vm(), model.Handles{}), d.Close())
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
	if err = errors.Join(err, d.Remove(ctx, tenant, h.vm(), model.Handles{}), h.empty(ctx, d)); err != nil {
		return err
	}
	if err := errors.Join(h.live(ctx), h.empty(ctx, d)); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	if left, err := entries(h.jails()); err != nil || len(left) > 0 {
		return fmt.Errorf("of jails are left: %v, %v", left, err)
	}
	return nil
}

// empty says what there is of the VM's beside its lock, which nobody may hold.
func (h house) empty(ctx context.Context, d *Driver) error {
	if held, err := procs.Locked(filepath.Join(h.vm(), vmm.LockName)); err != nil || held {
		return fmt.Errorf("a VMM lives: %t, %v", held, err)
	}
	left, err := entries(h.vm())
	left = slices.DeleteFunc(left, func(name string) bool { return name == vmm.LockName })
	if err != nil || len(left) > 0 {
		return fmt.Errorf("left: %v, %v", left, err)
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
