package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/vmm"
	"banger/internal/vmm/kvm"
)

// Name is the driver's.
const Name = "qemu"

// Options are what a Driver needs to know.
type Options struct {
	Binary   string           // QEMU's program; "" searches PATH
	Cache    string           // directory that keeps what was probed; "" for none
	ReadOnly bool             // what is probed is not kept
	KVM      *kvm.Probe       // nil for one of its own
	Instance model.InstanceID // the installation
	Log      *slog.Logger     // nil for none
}

// Driver runs VMs in QEMU. It is safe for concurrent use and keeps no list of what it started.
type Driver struct {
	options Options
	probing sync.Mutex // one probe at a time: two would disturb each other's timing
}

// New returns a driver. Nothing is asked of the host before the first Features.
func New(o Options) *Driver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KVM == nil {
		o.KVM = kvm.New(kvm.Options{Cache: o.Cache, ReadOnly: o.ReadOnly, Log: o.Log})
	}
	return &Driver{options: o}
}

// Name returns "qemu".
func (d *Driver) Name() string { return Name }

// Remove takes away a dead VMM's sockets.
func (d *Driver) Remove(_ context.Context, id model.VMID, dir string, _ model.Handles) error {
	crash.At("qemu.remove.before")
	var errs []error
	for _, name := range socketNames {
		switch err := os.Remove(filepath.Join(dir, name)); {
		case err == nil:
			crash.At("qemu.remove.socket")
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	crash.At("qemu.remove.after")
	if len(errs) > 0 {
		return fmt.Errorf("cannot remove what the VMM of %s left: %w", id, errors.Join(errs...))
	}
	return nil
}

// Sweep has nothing to do: this driver makes nothing outside the VMs' directories.
func (d *Driver) Sweep(context.Context, map[model.VMID]bool) error { return nil }

var (
	_ vmm.Driver   = (*Driver)(nil)
	_ vmm.Consoler = (*machine)(nil)
)
