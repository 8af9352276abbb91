package rootdisk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"banger/internal/model"
)

// Base is the image below a root disk.
type Base struct {
	Path   string // the read-only ext4 file
	Digest model.Digest
	Bytes  int64 // its apparent size, which is the root's virtual size
}

// Check says whether the image is there whole, as far as its size tells; that its bytes are those of the digest is for
// those who have the time to read them.
func (b Base) Check() error {
	info, err := os.Stat(b.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return model.Errorf(model.ErrCorrupt, "cannot use image %s: its file %s is gone; see: banger image list", b.Digest.Short(), b.Path)
	case err != nil:
		return model.HostErrorf(err, "cannot use image %s", b.Digest.Short())
	case !info.Mode().IsRegular() || info.Size() != b.Bytes:
		return model.Errorf(model.ErrCorrupt, "cannot use image %s: its file %s is not the %d bytes that it was; see: banger image list", b.Digest.Short(), b.Path, b.Bytes)
	}
	return nil
}

// FileUsage is the Usage of a disk whose own layer is one file.
func FileUsage(path string) (Usage, error) {
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); errors.Is(err, fs.ErrNotExist) {
		return Usage{}, model.Errorf(model.ErrNotFound, "cannot tell what the root disk takes: %s is gone", path)
	} else if err != nil {
		return Usage{}, model.HostErrorf(err, "cannot tell what the root disk takes")
	}
	return Usage{Bytes: stat.Blocks * 512}, nil // st_blocks counts 512 bytes, inode(7)
}

// Forgotten returns the VMs that have a directory in vms and of whose disks nothing is to be kept. What has not the name
// of a VM is nobody's here.
func Forgotten(vms string, keep map[model.VMID]Keep) ([]model.VMID, error) {
	entries, err := os.ReadDir(vms)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, model.HostErrorf(err, "cannot look for forgotten root disks")
	}
	var ids []model.VMID
	for _, e := range entries {
		if id := model.VMID(e.Name()); e.IsDir() && id.Valid() && keep[id] == KeepNothing {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Missing tells of VMs at rest whose disk, of the driver of that name, is not where path says. A disk without a VM lies in
// a directory without one.
func Missing(vms []model.VM, driver string, path func(model.VMID) string) []model.Leak {
	var leaks []model.Leak
	for _, v := range vms {
		if v.RootDisk != driver || !v.State.AtRest() || v.State == model.StateFailed { // what it failed for may be this
			continue
		}
		if _, err := os.Lstat(path(v.ID)); err != nil {
			leaks = append(leaks, model.Leak{Kind: "row", What: string(v.ID), Why: "is of " + v.Name + ", whose " + path(v.ID) + " is gone"})
		}
	}
	return leaks
}
