// Package qcow2 makes root disks as qcow2 overlays, which QEMU reads over the image.
//
// The overlay is one sparse file in the VM's directory, so there are no devices: Deactivate has nothing to do. The file
// names no backing file: the VMM opens the base by itself, read-only, and puts it below.
package qcow2

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/rootdisk"
)

// File is the overlay's name in the VM's directory.
const File = "root.qcow2"

const format = "qcow2" // of the drive

// Options are what a Driver needs.
type Options struct {
	VMs string // the directory that holds one directory per VM, each made and removed by the VM service
	Log *slog.Logger
}

// Driver implements rootdisk.Driver.
type Driver struct{ o Options }

var _ rootdisk.Driver = (*Driver)(nil)

// New returns a driver. It touches nothing.
func New(o Options) *Driver { return &Driver{o} }

// Name implements rootdisk.Driver.
func (*Driver) Name() string { return "qcow2" }

// Features implements rootdisk.Driver. The overlay is written by this package: nothing can be missing.
func (*Driver) Features(context.Context) rootdisk.Features {
	return rootdisk.Features{Format: format, Join: model.JoinNone}
}

func (d *Driver) path(id model.VMID) string { return filepath.Join(d.o.VMs, string(id), File) }

// Create implements rootdisk.Driver. An overlay of the same base that is there keeps its data.
func (d *Driver) Create(ctx context.Context, id model.VMID, base rootdisk.Base) error {
	if err := ctx.Err(); err != nil {
		return model.HostErrorf(err, "cannot make the root disk")
	}
	path := d.path(id)
	if _, err := os.Lstat(path); err == nil {
		return d.verify(id, base)
	}
	if err := atomicfile.Sweep(path); err != nil { // what a crashed Create left
		return model.HostErrorf(err, "cannot make the root disk")
	}
	if err := base.Check(); err != nil {
		return err
	}
	parts, length, err := empty(base)
	if err != nil {
		return err
	}
	crash.At("qcow2.create.before")
	if err := write(path, parts, length); err != nil {
		return model.HostErrorf(err, "cannot make the root disk")
	}
	crash.At("qcow2.create.after")
	return nil
}

func write(path string, parts []part, length int64) error {
	file, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := file.WriteAt(p.data, p.at); err != nil {
			return errors.Join(err, file.Abort())
		}
	}
	if err := file.Truncate(length); err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}

// Activate implements rootdisk.Driver.
func (d *Driver) Activate(ctx context.Context, id model.VMID, base rootdisk.Base) (rootdisk.Disk, error) {
	if err := ctx.Err(); err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot use the root disk")
	}
	if err := base.Check(); err != nil {
		return rootdisk.Disk{}, err
	}
	if err := d.verify(id, base); err != nil {
		return rootdisk.Disk{}, err
	}
	return rootdisk.Disk{
		Drives: []model.Drive{{Path: d.path(id), Format: format, Backing: base.Path, Serial: model.SerialRoot}},
	}, nil
}

// verify checks that the overlay is there, is a file, and can be given to QEMU over base.
func (d *Driver) verify(id model.VMID, base rootdisk.Base) error {
	path := d.path(id)
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: %s is gone, and with it what the VM wrote; make the VM anew", path)
	}
	if err != nil {
		return model.HostErrorf(err, "cannot use the root disk")
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: %s is not a regular file", path)
	}
	if err := check(file, base); err != nil {
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk %s: %w; make the VM anew", path, err)
	}
	return nil
}

// Deactivate implements rootdisk.Driver: there are no devices.
func (*Driver) Deactivate(context.Context, model.VMID, model.DiskHandles) error { return nil }

// Remove implements rootdisk.Driver.
func (d *Driver) Remove(_ context.Context, id model.VMID, _ model.DiskHandles) error {
	path := d.path(id)
	crash.At("qcow2.remove.before")
	if err := errors.Join(atomicfile.Remove(path), atomicfile.Sweep(path)); err != nil {
		return model.HostErrorf(err, "cannot remove the root disk")
	}
	crash.At("qcow2.remove.after")
	return nil
}

// Usage implements rootdisk.Driver.
func (d *Driver) Usage(_ context.Context, id model.VMID) (rootdisk.Usage, error) {
	return rootdisk.FileUsage(d.path(id))
}

// Sweep implements rootdisk.Driver. The VMs' directories themselves are the service's.
func (d *Driver) Sweep(ctx context.Context, keep map[model.VMID]rootdisk.Keep) error {
	ids, err := rootdisk.Forgotten(d.o.VMs, keep)
	errs := []error{err}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if _, err := os.Lstat(d.path(id)); err == nil {
			d.o.Log.Info("removing a forgotten root disk", "vm", string(id))
		}
		errs = append(errs, d.Remove(ctx, id, model.DiskHandles{}))
	}
	return errors.Join(errs...)
}

// Leaks tells of VMs whose overlay is gone.
func (d *Driver) Leaks(_ context.Context, vms []model.VM) ([]model.Leak, error) {
	return rootdisk.Missing(vms, d.Name(), d.path), nil
}
