// Package rootdisktest has the conformance suite of root disk drivers, with a fake one that passes it.
package rootdisktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/model"
	"banger/internal/rootdisk"
)

// Fake is a driver that copies the base whole and pretends to attach the copy to a device, as a file in a directory of
// devices: it has both data and devices to lose, and both outlive the process, as a host's do. It is for tests.
type Fake struct {
	vms     string
	devices string
	fail    func(call string, id model.VMID) error
}

var (
	_ rootdisk.Driver = (*Fake)(nil)
	_ rootdisk.Finder = (*Fake)(nil)
)

// NewFake returns a fake whose data is in vms/<id>/root.img and whose devices are the files in devices. fail, when it is
// not nil, is asked before each call, by the method's name, and its error is returned instead of acting.
func NewFake(vms, devices string, fail func(call string, id model.VMID) error) *Fake {
	if fail == nil {
		fail = func(string, model.VMID) error { return nil }
	}
	return &Fake{vms: vms, devices: devices, fail: fail}
}

// Name implements rootdisk.Driver.
func (*Fake) Name() string { return "fake" }

// Features implements rootdisk.Driver: it runs everywhere.
func (*Fake) Features(context.Context) rootdisk.Features {
	return rootdisk.Features{Format: "raw", Join: model.JoinNone}
}

func (f *Fake) data(id model.VMID) string { return filepath.Join(f.vms, string(id), "root.img") }

// base remembers which image the data came from.
func (f *Fake) base(id model.VMID) string { return filepath.Join(f.vms, string(id), "root.base") }

func (f *Fake) device(id model.VMID) string { return filepath.Join(f.devices, "fake-"+string(id)) }

func (f *Fake) begin(ctx context.Context, call string, id model.VMID) error {
	if err := ctx.Err(); err != nil {
		return model.HostErrorf(err, "cannot %s the root disk", strings.ToLower(call))
	}
	return f.fail(call, id)
}

// Create implements rootdisk.Driver.
func (f *Fake) Create(ctx context.Context, id model.VMID, base rootdisk.Base) error {
	if err := f.begin(ctx, "Create", id); err != nil {
		return err
	}
	if _, err := os.Stat(f.data(id)); err == nil {
		return f.verify(id, base)
	}
	if err := base.Check(); err != nil {
		return err
	}
	err := atomicfile.Write(f.base(id), []byte(base.Digest), 0o600)
	if err == nil {
		err = clone(base.Path, f.data(id))
	}
	if err != nil {
		return model.HostErrorf(errors.Join(err, atomicfile.Remove(f.base(id))), "cannot make the root disk")
	}
	return nil
}

func clone(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := atomicfile.Create(to, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return errors.Join(err, dst.Abort())
	}
	return dst.Commit()
}

func (f *Fake) verify(id model.VMID, base rootdisk.Base) error {
	digest, err := os.ReadFile(f.base(id))
	if err != nil || model.Digest(digest) != base.Digest {
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: it is gone, or made for another base")
	}
	if info, err := os.Stat(f.data(id)); err != nil || info.Size() != base.Bytes {
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: it is gone or cut short")
	}
	return nil
}

// Activate implements rootdisk.Driver.
func (f *Fake) Activate(ctx context.Context, id model.VMID, base rootdisk.Base) (rootdisk.Disk, error) {
	if err := f.begin(ctx, "Activate", id); err != nil {
		return rootdisk.Disk{}, err
	}
	if err := errors.Join(base.Check(), f.verify(id, base)); err != nil {
		return rootdisk.Disk{}, err
	}
	if err := os.MkdirAll(f.devices, 0o700); err != nil {
		return rootdisk.Disk{}, err
	}
	if err := atomicfile.Write(f.device(id), []byte(f.data(id)), 0o600); err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot attach the root disk")
	}
	return rootdisk.Disk{
		Drives:  []model.Drive{{Path: f.data(id), Format: "raw", Serial: model.SerialRoot}},
		Handles: f.handles(id),
	}, nil
}

func (f *Fake) handles(id model.VMID) model.DiskHandles {
	return model.DiskHandles{DMName: filepath.Base(f.device(id)), DMDev: f.device(id)}
}

// Find implements rootdisk.Finder.
func (f *Fake) Find(ctx context.Context, id model.VMID) (model.DiskHandles, error) {
	if err := f.begin(ctx, "Find", id); err != nil {
		return model.DiskHandles{}, err
	}
	_, err := os.Lstat(f.device(id))
	if errors.Is(err, fs.ErrNotExist) {
		return model.DiskHandles{}, nil
	}
	return f.handles(id), err
}

// Deactivate implements rootdisk.Driver. It finds the device by the VM's id and never follows the hint.
func (f *Fake) Deactivate(ctx context.Context, id model.VMID, _ model.DiskHandles) error {
	if err := f.begin(ctx, "Deactivate", id); err != nil {
		return err
	}
	return atomicfile.Remove(f.device(id))
}

// Remove implements rootdisk.Driver.
func (f *Fake) Remove(ctx context.Context, id model.VMID, _ model.DiskHandles) error {
	if err := f.begin(ctx, "Remove", id); err != nil {
		return err
	}
	return errors.Join(atomicfile.Remove(f.device(id)), atomicfile.Remove(f.data(id)), atomicfile.Sweep(f.data(id)),
		atomicfile.Remove(f.base(id)), atomicfile.Sweep(f.base(id)))
}

// Usage implements rootdisk.Driver.
func (f *Fake) Usage(ctx context.Context, id model.VMID) (rootdisk.Usage, error) {
	if err := f.begin(ctx, "Usage", id); err != nil {
		return rootdisk.Usage{}, err
	}
	info, err := os.Stat(f.data(id))
	if errors.Is(err, fs.ErrNotExist) {
		return rootdisk.Usage{}, model.Errorf(model.ErrNotFound, "cannot tell what the root disk takes: it is gone")
	}
	if err != nil {
		return rootdisk.Usage{}, err
	}
	return rootdisk.Usage{Bytes: info.Size()}, nil
}

// Sweep implements rootdisk.Driver.
func (f *Fake) Sweep(ctx context.Context, keep map[model.VMID]rootdisk.Keep) error {
	if err := f.begin(ctx, "Sweep", ""); err != nil {
		return err
	}
	var errs []error
	for _, id := range f.ids() {
		switch keep[id] {
		case rootdisk.KeepDevices:
		case rootdisk.KeepData:
			errs = append(errs, f.Deactivate(ctx, id, model.DiskHandles{}))
		default:
			errs = append(errs, f.Remove(ctx, id, model.DiskHandles{}))
		}
	}
	return errors.Join(errs...)
}

// ids lists the VMs that have data or a device.
func (f *Fake) ids() []model.VMID {
	var all []model.VMID
	for _, pattern := range []string{filepath.Join(f.vms, "*", "root.*"), filepath.Join(f.devices, "fake-*")} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			name := filepath.Base(filepath.Dir(path))
			if device, ok := strings.CutPrefix(filepath.Base(path), "fake-"); ok {
				name = device
			}
			if id := model.VMID(name); id.Valid() {
				all = append(all, id)
			}
		}
	}
	return all
}

// String prints what the pretended host holds, one line each, sorted as the host lists it.
func (f *Fake) String() string {
	var b strings.Builder
	for _, pattern := range []string{filepath.Join(f.vms, "*", "root.img"), filepath.Join(f.devices, "fake-*")} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			fmt.Fprintln(&b, path)
		}
	}
	return b.String()
}
