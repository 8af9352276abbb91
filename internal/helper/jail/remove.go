package jail

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"banger/internal/crash"
	"banger/internal/model"
)

// Remove ends the VM's VMM, if it runs, and takes its jail away. That there is nothing is success. Every step runs whatever
// the others do.
func (h *Host) Remove(ctx context.Context, id model.VMID) error {
	if err := h.check(id); err != nil {
		return model.HostErrorf(err, "cannot remove the jail of %s", id)
	}
	crash.At("jail.remove.before")
	errs := []error{h.Kill(ctx, id)}
	crash.At("jail.remove.killed")
	errs = append(errs, h.disks.CloseDrives(ctx, id))
	crash.At("jail.remove.drives")
	errs = append(errs, h.removeDir(id))
	crash.At("jail.remove.dir")
	errs = append(errs, removeEmpty(h.cgroup(id), h.parent()))
	if err := errors.Join(errs...); err != nil {
		return model.HostErrorf(err, "cannot remove the jail of %s", id)
	}
	crash.At("jail.remove.after")
	return nil
}

// removeDir removes the directory that the VMM shared with its owner, and those of all when it was the last.
func (h *Host) removeDir(id model.VMID) error {
	if err := takeAway(h.Path(id)); err != nil {
		return err
	}
	if err := removeEmpty(h.o.Dir); err != nil {
		return err
	}
	if err := h.LeaveStock(); err != nil || h.o.UID != 0 {
		return err
	}
	return removeEmpty(filepath.Dir(h.o.Dir)) // root made it, too, where no helper is installed
}

// removeEmpty removes directories, in that order, as far as nothing is in them.
func removeEmpty(paths ...string) error {
	for _, path := range paths {
		err := syscall.Rmdir(path)
		switch {
		case err == nil, errors.Is(err, syscall.ENOENT):
		case path == paths[len(paths)-1] && (errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.EBUSY)):
			// others are in it
		default:
			return &fs.PathError{Op: "rmdir", Path: path, Err: err}
		}
	}
	return nil
}

// There says whether there is anything of the VM's jail; what it has else is there only with these. Anybody may ask.
func (h *Host) There(id model.VMID) bool {
	if h.check(id) != nil {
		return false
	}
	for _, path := range []string{h.Path(id), h.cgroup(id)} {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}

// List returns what there is of this installation's jails, by VM. Of loop devices only root is told.
func (h *Host) List(ctx context.Context) ([]VM, error) {
	if err := ctx.Err(); err != nil {
		return nil, model.HostErrorf(err, "cannot list jails")
	}
	all := map[model.VMID]*VM{}
	of := func(id model.VMID) *VM {
		if all[id] == nil {
			all[id] = &VM{ID: id}
		}
		return all[id]
	}
	if err := h.each(h.o.Dir, func(id model.VMID, info fs.FileInfo) {
		of(id).Dir = h.Path(id)
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			of(id).UID = int(stat.Gid)
		}
	}); err != nil {
		return nil, model.HostErrorf(err, "cannot list jails")
	}
	if err := h.each(h.parent(), func(id model.VMID, _ fs.FileInfo) {
		of(id).Cgroup = h.cgroup(id)
		of(id).PID, _ = h.Process(id)
	}); err != nil {
		return nil, model.HostErrorf(err, "cannot list jails")
	}
	if os.Geteuid() == 0 {
		drives, err := h.disks.Drives()
		if err != nil {
			return nil, model.HostErrorf(err, "cannot list jails")
		}
		for id, loops := range drives {
			of(id).Loops = loops
		}
	}
	return sorted(all), nil
}

// each calls f for each of this installation's directories in dir.
func (h *Host) each(dir string, f func(model.VMID, fs.FileInfo)) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		id, ours := h.ownerOfName(e.Name())
		if !ours || !e.IsDir() {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return err
		}
		f(id, info)
	}
	return nil
}
