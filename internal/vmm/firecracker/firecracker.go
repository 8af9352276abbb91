package firecracker

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
const Name = "firecracker"

// The files in a VM's directory: two sockets and two FIFOs.
const (
	socketAPI   = "firecracker.api"
	socketVsock = "firecracker.vsock"
	fifoLog     = "firecracker.log"
	fifoConsole = "firecracker.console"
)

var fileNames = [...]string{socketAPI, socketVsock, fifoLog, fifoConsole}

// Options are what a Driver needs to know.
type Options struct {
	Binary   string       // Firecracker's program; "" searches PATH
	Cache    string       // directory that keeps what was probed; "" for none
	ReadOnly bool         // what is probed is not kept
	KVM      *kvm.Probe   // nil for one of its own
	Console  bool         // give the VMs a serial console
	Jail     Jail         // makes jails; nil for none
	Unjailed bool         // no VM is started in one
	Log      *slog.Logger // nil for none
}

// Driver runs VMs in Firecracker. It is safe for concurrent use and keeps no list of what it started.
type Driver struct {
	options Options
	stock   stock // where there are jails

	asking     sync.Once
	namespaces error    // why no process can be given namespaces of its own; asked once
	warned     sync.Map // the programs of which it is known whether they have system call filters
}

// New returns a driver. Nothing is asked of the host before the first Features.
func New(o Options) *Driver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KVM == nil {
		o.KVM = kvm.New(kvm.Options{Cache: o.Cache, ReadOnly: o.ReadOnly, Log: o.Log})
	}
	d := &Driver{options: o, stock: stock{log: o.Log}}
	if o.Jail != nil {
		d.stock.dir = o.Jail.Stock()
	}
	return d
}

// Close gives up the memory that copies for the next start in a jail take. No start is under way.
func (d *Driver) Close() error {
	if d.options.Jail == nil || d.options.ReadOnly {
		return nil
	}
	crash.At("firecracker.close.before")
	d.stock.trim(0)
	crash.At("firecracker.close.trimmed")
	err := d.options.Jail.LeaveStock()
	crash.At("firecracker.close.after")
	return err
}

// Name returns "firecracker".
func (d *Driver) Name() string { return Name }

// Remove takes away a dead VMM's sockets and FIFOs, and its jail.
func (d *Driver) Remove(ctx context.Context, id model.VMID, dir string, _ model.Handles) error {
	crash.At("firecracker.remove.before")
	err := removeFiles(dir)
	crash.At("firecracker.remove.files")
	err = errors.Join(err, d.unjail(ctx, id))
	crash.At("firecracker.remove.after")
	if err != nil {
		return fmt.Errorf("cannot remove what the VMM of %s left: %w", id, err)
	}
	return nil
}

func removeFiles(dir string) error {
	var errs []error
	for _, name := range fileNames {
		switch err := os.Remove(filepath.Join(dir, name)); {
		case err == nil:
			crash.At("firecracker.remove.file")
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

var (
	_ vmm.Driver   = (*Driver)(nil)
	_ vmm.Consoler = withConsole{}
)
