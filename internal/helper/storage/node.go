package storage

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// makeNode makes the VM's node for a device, for the owner alone. Only root can write to its directory, which holds nothing
// but nodes.
func (h *Host) makeNode(id model.VMID, dev uint64) error {
	path := h.node(id)
	var stat unix.Stat_t
	if unix.Lstat(path, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFBLK && stat.Rdev == dev && int(stat.Uid) == h.o.UID {
		return nil
	}
	for {
		err := h.mknod(path, dev)
		switch {
		case errors.Is(err, syscall.EEXIST): // that of a device that was
			err = h.removeNode(id)
		case errors.Is(err, syscall.ENOENT): // the first, or another VM's was the last but now and took the directory with it
			err = h.makeDir()
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
}

// makeDir makes the directory for nodes with its mode, whatever the umask takes.
func (h *Host) makeDir() error {
	if err := os.Mkdir(h.dir(), 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(h.dir(), 0o711); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// mknod makes a node of root's and gives it away.
func (h *Host) mknod(path string, dev uint64) error {
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(dev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: path, Err: err}
	}
	return os.Lchown(path, h.o.UID, h.o.GID)
}

// removeNode removes the VM's node, and the directory when it was the last. Its owner may go on holding the node without
// having its device open (O_PATH, a mount), and could open whatever device has the number next, so the node is taken away from
// the owner first.
func (h *Host) removeNode(id model.VMID) error {
	if err := errors.Join(os.Lchown(h.node(id), 0, 0), os.Chmod(h.node(id), 0)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(h.node(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := unix.Rmdir(h.dir())
	if err == nil || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return &fs.PathError{Op: "rmdir", Path: h.dir(), Err: err}
}

// nodes lists the VMs that have a node.
func (h *Host) nodes() ([]model.VMID, error) {
	entries, err := os.ReadDir(h.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ids []model.VMID
	for _, e := range entries {
		if id := model.VMID(e.Name()); id.Valid() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
