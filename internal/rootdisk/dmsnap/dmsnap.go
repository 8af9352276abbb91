// Package dmsnap makes root disks with the kernel's dm-snapshot: a block device of the VM's own over the image.
//
// What the VM changes is in a sparse file in its directory, as large as all changes together can be, so that it cannot
// overflow. The devices over it and the image need root; they are made by verbs that are given descriptors and ids only.
//
// When the host's file system is full, the kernel cannot keep a change and gives the whole snapshot up: the guest gets I/O
// errors from then on, and Check and the next Activate say why. Taking the disk away works all the same.
package dmsnap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/helper/storage"
	"banger/internal/model"
	"banger/internal/rootdisk"
)

// The names in the VM's directory. The base is remembered beside the changes, which nothing on this host reads but the
// kernel's snapshots.
const (
	File     = "root.cow"
	baseFile = "root.cow.base" // the digest of the image that the changes belong to
)

const format = "raw" // of the device

// Verbs are what needs root. Each may be called again after a crash at any point of it.
type Verbs interface {
	// Problem says why there are no snapshots here, with what would help, or is "".
	Problem() string
	// Attach makes the VM's snapshot of base with the changes in cow; one of the same files that is there stays.
	Attach(ctx context.Context, id model.VMID, base, cow *os.File) (storage.Snapshot, error)
	// Detach takes it away; that there is none is success.
	Detach(ctx context.Context, id model.VMID) error
	// List tells what there is of this installation's, whole or not.
	List(ctx context.Context) ([]storage.Snapshot, error)
}

// Options are what a Driver needs.
type Options struct {
	VMs   string // the directory that holds one directory per VM, each made and removed by the VM service
	Verbs Verbs
	Log   *slog.Logger
}

// Driver implements rootdisk.Driver.
type Driver struct{ o Options }

var (
	_ rootdisk.Driver  = (*Driver)(nil)
	_ rootdisk.Finder  = (*Driver)(nil)
	_ rootdisk.Checker = (*Driver)(nil)
)

// New returns a driver. It touches nothing.
func New(o Options) *Driver { return &Driver{o} }

// Name implements rootdisk.Driver.
func (*Driver) Name() string { return "dm-snapshot" }

// Features implements rootdisk.Driver.
func (d *Driver) Features(context.Context) rootdisk.Features {
	return rootdisk.Features{Format: format, Join: model.JoinNone, Problem: d.o.Verbs.Problem()}
}

func (d *Driver) path(id model.VMID, name string) string {
	return filepath.Join(d.o.VMs, string(id), name)
}

// Create implements rootdisk.Driver. Changes to the same base that are there are kept.
func (d *Driver) Create(ctx context.Context, id model.VMID, base rootdisk.Base) error {
	if err := ctx.Err(); err != nil {
		return model.HostErrorf(err, "cannot make the root disk")
	}
	if _, err := os.Lstat(d.path(id, File)); err == nil {
		return d.verify(id, base)
	}
	if err := d.removeFiles(id); err != nil { // what a crashed Create left
		return model.HostErrorf(err, "cannot make the root disk")
	}
	if err := base.Check(); err != nil {
		return err
	}
	if !base.Digest.Valid() || base.Bytes <= 0 || base.Bytes%512 != 0 || base.Bytes > model.MaxDiskBytes {
		return model.Errorf(model.ErrCorrupt, "cannot make a root disk over an image of %d bytes with the digest %q", base.Bytes, base.Digest)
	}
	crash.At("dmsnap.create.before")
	err := atomicfile.Write(d.path(id, baseFile), []byte(base.Digest), 0o600)
	if err == nil {
		crash.At("dmsnap.create.base")
		err = writeEmpty(d.path(id, File), storage.COWBytes(base.Bytes))
	}
	if err != nil {
		return model.HostErrorf(errors.Join(err, d.removeFiles(id)), "cannot make the root disk")
	}
	crash.At("dmsnap.create.after")
	return nil
}

// writeEmpty makes a file without changes, which is one that begins with zeros. These are written, so that a full disk is
// noticed here.
func writeEmpty(path string, size int64) error {
	file, err := atomicfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(make([]byte, 8<<10), 0); err != nil {
		return errors.Join(err, file.Abort())
	}
	if err := file.Truncate(size); err != nil {
		return errors.Join(err, file.Abort())
	}
	return file.Commit()
}

// Activate implements rootdisk.Driver.
func (d *Driver) Activate(ctx context.Context, id model.VMID, base rootdisk.Base) (rootdisk.Disk, error) {
	if err := ctx.Err(); err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot use the root disk")
	}
	if err := errors.Join(base.Check(), d.verify(id, base)); err != nil {
		return rootdisk.Disk{}, err
	}
	const careful = syscall.O_NOFOLLOW | syscall.O_NONBLOCK // what is not a file is told by the verbs
	below, err := os.OpenFile(base.Path, os.O_RDONLY|careful, 0)
	if err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot use image %s", base.Digest.Short())
	}
	defer below.Close()
	changes, err := os.OpenFile(d.path(id, File), os.O_RDWR|careful, 0)
	if err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot use the root disk")
	}
	defer changes.Close()
	s, err := d.o.Verbs.Attach(ctx, id, below, changes)
	if err != nil {
		return rootdisk.Disk{}, model.HostErrorf(err, "cannot use the root disk")
	}
	return rootdisk.Disk{
		Drives:  []model.Drive{{Path: s.Node, Format: format, Serial: model.SerialRoot}},
		Handles: handles(s),
	}, nil
}

func handles(s storage.Snapshot) model.DiskHandles {
	return model.DiskHandles{BaseLoop: s.BaseLoop, COWLoop: s.COWLoop, DMName: s.Name, DMDev: s.Dev}
}

// Find implements rootdisk.Finder.
func (d *Driver) Find(ctx context.Context, id model.VMID) (model.DiskHandles, error) {
	s, err := d.find(ctx, id)
	return handles(s), err
}

// Check implements rootdisk.Checker.
func (d *Driver) Check(ctx context.Context, id model.VMID) error {
	s, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	if err := s.Err(); err != nil {
		return model.HostErrorf(err, "the root disk is lost")
	}
	return nil
}

// find is empty of a VM without devices.
func (d *Driver) find(ctx context.Context, id model.VMID) (storage.Snapshot, error) {
	there, err := d.o.Verbs.List(ctx)
	if err != nil {
		return storage.Snapshot{}, model.HostErrorf(err, "cannot find the root disk's devices")
	}
	for _, s := range there {
		if s.ID == id {
			return s, nil
		}
	}
	return storage.Snapshot{}, nil
}

// verify checks that the changes are there whole, as far as their size tells, and belong to base.
func (d *Driver) verify(id model.VMID, base rootdisk.Base) error {
	path := d.path(id, File)
	info, err := os.Lstat(path)
	switch size := storage.COWBytes(base.Bytes); {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: %s is gone, and with it what the VM wrote; make the VM anew", path)
	case err != nil:
		return model.HostErrorf(err, "cannot use the root disk")
	case !info.Mode().IsRegular() || info.Size() != size:
		return model.Errorf(model.ErrCorrupt, "cannot use the root disk: %s is not the file of %d bytes that it was; make the VM anew", path, size)
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

// Deactivate implements rootdisk.Driver. The devices are found by their names: what the hint says does not matter.
func (d *Driver) Deactivate(ctx context.Context, id model.VMID, _ model.DiskHandles) error {
	if err := d.o.Verbs.Detach(ctx, id); err != nil {
		return model.HostErrorf(err, "cannot take the root disk's devices away")
	}
	return nil
}

// Remove implements rootdisk.Driver.
func (d *Driver) Remove(ctx context.Context, id model.VMID, _ model.DiskHandles) error {
	crash.At("dmsnap.remove.before")
	err := d.o.Verbs.Detach(ctx, id)
	crash.At("dmsnap.remove.detached")
	if err := errors.Join(err, d.removeFiles(id)); err != nil {
		return model.HostErrorf(err, "cannot remove the root disk")
	}
	crash.At("dmsnap.remove.after")
	return nil
}

func (d *Driver) removeFiles(id model.VMID) error {
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

// Sweep implements rootdisk.Driver. Where there can be no snapshots there are none to look for.
func (d *Driver) Sweep(ctx context.Context, keep map[model.VMID]rootdisk.Keep) error {
	var errs []error
	if d.o.Verbs.Problem() == "" {
		errs = append(errs, d.sweepDevices(ctx, keep))
	}
	ids, err := rootdisk.Forgotten(d.o.VMs, keep)
	errs = append(errs, err)
	for _, id := range ids {
		if _, err := os.Lstat(d.path(id, File)); err == nil {
			d.o.Log.Info("removing a forgotten root disk", "vm", string(id))
		}
		errs = append(errs, d.removeFiles(id))
	}
	return errors.Join(errs...)
}

func (d *Driver) sweepDevices(ctx context.Context, keep map[model.VMID]rootdisk.Keep) error {
	there, err := d.o.Verbs.List(ctx)
	errs := []error{err}
	for _, s := range there {
		if keep[s.ID] == rootdisk.KeepDevices {
			continue
		}
		d.o.Log.Info("removing a forgotten root disk's devices", "vm", string(s.ID), "name", s.Name, "base", s.BaseLoop, "changes", s.COWLoop)
		errs = append(errs, d.o.Verbs.Detach(ctx, s.ID))
	}
	return errors.Join(errs...)
}

// Leaks tells of devices whose VM does not run, of VMs that run without theirs, and of VMs whose changes are gone or lost.
func (d *Driver) Leaks(ctx context.Context, vms []model.VM) ([]model.Leak, error) {
	leaks := rootdisk.Missing(vms, d.Name(), func(id model.VMID) string { return d.path(id, File) })
	if d.o.Verbs.Problem() != "" {
		return leaks, nil // there can be none
	}
	there, err := d.o.Verbs.List(ctx)
	if err != nil {
		return nil, model.HostErrorf(err, "cannot look for the devices of root disks")
	}
	attached, lives := map[model.VMID]storage.Snapshot{}, map[model.VMID]bool{}
	for _, v := range vms {
		lives[v.ID] = v.State.Lives()
	}
	for _, s := range there {
		if attached[s.ID] = s; !lives[s.ID] {
			leaks = append(leaks, model.Leak{Kind: "device", What: cmp.Or(s.Name, s.COWLoop, s.BaseLoop), Why: fmt.Sprintf("is of the VM %s, which does not run; its devices are %q, %q and %q", s.ID, s.Name, s.COWLoop, s.BaseLoop)})
		}
	}
	for _, v := range vms {
		s, there := attached[v.ID]
		if v.RootDisk == d.Name() && v.State == model.StateRunning && !there {
			leaks = append(leaks, model.Leak{Kind: "row", What: string(v.ID), Why: "is of " + v.Name + ", which runs without the device of its root disk"})
		}
		if err := s.Err(); err != nil && lives[v.ID] {
			leaks = append(leaks, model.Leak{Kind: "disk", What: d.path(v.ID, File), Why: "is lost to " + v.Name + ", which runs: " + err.Error()})
		}
	}
	return leaks, nil
}
