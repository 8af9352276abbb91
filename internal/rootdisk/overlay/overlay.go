// Package overlay makes root disks of two drives, which the agent joins with overlayfs: the image itself, attached
// read-only, so that all VMs share one copy in the host's page cache, and an empty ext4 of the VM's own for what it changes.
//
// It needs no rights and no format but raw, so any VMM will do. There are no devices: Deactivate has nothing to do. The
// VM's own drive is as large as the image, and sparse: a guest has room for another version of every file.
package overlay

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/emptyext4"
	"banger/internal/model"
	"banger/internal/rootdisk"
)

// The names in the VM's directory. The base is remembered beside the layer, since nothing on this host reads what is in a
// file system that a guest has written.
const (
	File     = "upper.ext4"
	baseFile = "upper.base" // the digest of the image that the layer belongs to
)

const format = "raw" // of both drives

// Options are what a Driver needs.
type Options struct {
	VMs string // the directory that holds one directory per VM, each made and removed by the VM service
	Log *slog.Logger
}

// Driver implements rootdisk.Driver.
type Driver struct {
	o    Options
	tool func() (string, error) // what makes the file systems, or why nothing does
}

var _ rootdisk.Driver = (*Driver)(nil)

// New returns a driver. It touches nothing.
func New(o Options) *Driver { return &Driver{o: o, tool: emptyext4.Find} }

// Name implements rootdisk.Driver.
func (*Driver) Name() string { return "overlay" }

// Features implements rootdisk.Driver.
func (d *Driver) Features(context.Context) rootdisk.Features {
	f := rootdisk.Features{Format: format, Join: model.JoinOverlay}
	if _, err := d.tool(); err != nil {
		f.Problem = err.Error()
	}
	return f
}

func (d *Driver) path(id model.VMID, name string) string {
	return filepath.Join(d.o.VMs, string(id), name)
}

// layerBytes is the size of the VM's own drive: its base's, unless no file system of use fits into that.
func layerBytes(base rootdisk.Base) int64 {
	return emptyext4.FileBytes(max(base.Bytes, model.MinDiskBytes))
}

// Create implements rootdisk.Driver. A layer over the same base that is there keeps its data.
func (d *Driver) Create(ctx context.Context, id model.VMID, base rootdisk.Base) error {
	if err := ctx.Err(); err != nil {
		return model.HostErrorf(err, "cannot make the root disk")
	}
	if _, err := os.Lstat(d.path(id, File)); err == nil {
		return d.verify(id, base)
	}
	if err := d.remove(id); err != nil { // what a crashed Create left
		return model.HostErrorf(err, "cannot make the root disk")
	}
	if err := base.Check(); err != nil {
		return err
	}
	if !base.Digest.Valid() || base.Bytes > model.MaxDiskBytes {
		return model.Errorf(model.ErrCorrupt, "cannot make a root disk over an image of %d bytes with the digest %q", base.Bytes, base.Digest)
	}
	crash.At("overlay.create.before")
	err := atomicfile.Write(d.path(id, baseFile), []byte(base.Digest), 0o600)
	if err == nil {
		crash.At("overlay.create.base")
		err = emptyext4.Create(ctx, d.path(id, File), layerBytes(base))
	}
	if err != nil {
		return model.HostErrorf(errors.Join(err, d.remove(id)), "cannot make the root disk")
	}
	crash.At("overlay.create.after")
	return nil
}

// Activate implements rootdisk.Driver.
func (d *Driver) Activate(ctx context.Context, id model.VMID, base rootdisk.Base) (rootdisk.Disk, error) {
	if err := ctx.Err(); err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot use the root disk")
	}
	if err := errors.Join(base.Check(), d.verify(id, base)); err != nil {
		return rootdisk.Disk{}, err
	}
	return rootdisk.Disk{Drives: []model.Drive{
		{Path: base.Path, Format: format, ReadOnly: true, Serial: model.SerialRoot},
		{Path: d.path(id, File), Format: format, Serial: model.SerialUpper},
	}}, nil
}

// verify checks that the layer is there whole, as far as its size tells, and belongs to base.
func (d *Driver) verify(id model.VMID, base rootdisk.Base) error {
	path := d.path(id, File)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: %s is gone, and with it what the VM wrote; make the VM anew", path)
	case err != nil:
		return model.HostErrorf(err, "cannot use the root disk")
	case !info.Mode().IsRegular() || info.Size() != layerBytes(base):
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: %s is not the file of %d bytes that it was; make the VM anew", path, layerBytes(base))
	}
	digest, err := os.ReadFile(d.path(id, baseFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return model.HostErrorf(err, "cannot use the root disk")
	}
	if model.Digest(strings.TrimSpace(string(digest))) != base.Digest {
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: by %s it was not made for image %s; make the VM anew", d.path(id, baseFile), base.Digest.Short())
	}
	return nil
}

// Deactivate implements rootdisk.Driver: there are no devices.
func (*Driver) Deactivate(context.Context, model.VMID, model.DiskHandles) error { return nil }

// Remove implements rootdisk.Driver.
func (d *Driver) Remove(_ context.Context, id model.VMID, _ model.DiskHandles) error {
	crash.At("overlay.remove.before")
	if err := d.remove(id); err != nil {
		return model.HostErrorf(err, "cannot remove the root disk")
	}
	crash.At("overlay.remove.after")
	return nil
}

func (d *Driver) remove(id model.VMID) error {
	var errs []error
	for _, name := range []string{File, baseFile} {
		path := d.path(id, name)
		errs = append(errs, atomicfile.Remove(path), atomicfile.Sweep(path))
	}
	return errors.Join(errs...)
}

// Usage implements rootdisk.Driver.
func (d *Driver) Usage(_ context.Context, id model.VMID) (rootdisk.Usage, error) {
	return rootdisk.FileUsage(d.path(id, File))
}

// Sweep implements rootdisk.Driver. The VMs' directories themselves are the service's.
func (d *Driver) Sweep(ctx context.Context, keep map[model.VMID]rootdisk.Keep) error {
	ids, err := rootdisk.Forgotten(d.o.VMs, keep)
	errs := []error{err}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if _, err := os.Lstat(d.path(id, File)); err == nil {
			d.o.Log.Info("removing a forgotten root disk", "vm", string(id))
		}
		errs = append(errs, d.Remove(ctx, id, model.DiskHandles{}))
	}
	return errors.Join(errs...)
}

// Leaks tells of VMs whose layer is gone.
func (d *Driver) Leaks(_ context.Context, vms []model.VM) ([]model.Leak, error) {
	return rootdisk.Missing(vms, d.Name(), func(id model.VMID) string { return d.path(id, File) }), nil
}
