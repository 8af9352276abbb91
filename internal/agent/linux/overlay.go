package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the layers of an overlay root are mounted until it has hold of them. The upper drive has two directories: what
// the VM wrote, and overlayfs's workshop.
const (
	lowerDir  = "/lower"
	upperDir  = "/upper"
	upperData = upperDir + "/data"
	upperWork = upperDir + "/work"
)

// overlayOptions make an overlay that programs do not tell from one file system, whatever the kernel's defaults are:
//
//   - index: the names of a file of the image stay one file when it is written to;
//   - redirect_dir: a directory of the image can be renamed; programs do not expect EXDEV of that;
//   - xino: all files have one device number, and keep their inode number when they are written to. Without it,
//     `tar --one-file-system` leaves out what the image brought;
//   - no metacopy: a file of the VM's is whole in its layer. A chown of a large file copies it.
//
// The layer is never a volatile one: what was synced is there after the VMM was killed.
const overlayOptions = "lowerdir=" + lowerDir + ",upperdir=" + upperData + ",workdir=" + upperWork +
	",index=on,redirect_dir=on,xino=on,metacopy=off"

// mountOverlay mounts the drive lower, read-only, with the drive upper over it on newRoot.
func mountOverlay(lower, upper string) error {
	if err := loadOverlay(); err != nil {
		return err
	}
	if err := mountDrive(lower, lowerDir, unix.MS_RDONLY); err != nil {
		if errors.Is(err, unix.EROFS) {
			return fmt.Errorf("%w: its journal was not written back, which takes a writable drive; make the VM with another --root-disk", err)
		}
		return err
	}
	if err := mountDrive(upper, upperDir, 0); err != nil {
		return err
	}
	if err := prepareUpper(); err != nil {
		return fmt.Errorf("cannot prepare the root's upper layer: %w", err)
	}
	err := mountAt("overlay", "overlay", newRoot, 0, overlayOptions)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: this kernel has no overlayfs; make the VM with another --root-disk", err)
	}
	if err != nil {
		return err
	}
	// The overlay has its own hold on both.
	return errors.Join(unix.Unmount(lowerDir, unix.MNT_DETACH), unix.Unmount(upperDir, unix.MNT_DETACH))
}

// prepareUpper makes the directories of an upper drive that has none yet. The one for what the VM writes becomes the
// root's own, so it begins as the image's is; it has its name only when it is complete.
func prepareUpper() error {
	if err := os.Mkdir(upperWork, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(upperData); err == nil {
		return nil
	}
	const fresh = upperData + ".new"
	if err := os.Mkdir(fresh, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(lowerDir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s has no owner", lowerDir)
	}
	if err := os.Chown(fresh, int(stat.Uid), int(stat.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(fresh, info.Mode()); err != nil {
		return err
	}
	if err := os.Chtimes(fresh, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(fresh, upperData)
}
