package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
	"banger/internal/model"
)

// driveLimit is how long a drive may take to appear; a slow host's take a second.
const driveLimit = 30 * time.Second

// mountAt mounts on a directory, which is made when it is missing.
func mountAt(source, kind, at string, flags uintptr, data string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return fmt.Errorf("cannot mount %s: %w", at, err)
	}
	if err := unix.Mount(source, at, kind, flags, data); err != nil {
		return fmt.Errorf("cannot mount %s on %s: %w", source, at, err)
	}
	return nil
}

// drive returns the device of the drive with that serial.
func drive(serial string) (string, error) {
	return await("the drive "+serial, driveLimit, func() (string, bool) { return findDrive(serial) })
}

// mountDrive mounts a drive's ext4. What it has not used of its tables is zeros already, since the host made the drive
// sparse: the kernel need not write them in the background.
func mountDrive(serial, at string, flags uintptr) error {
	device, err := drive(serial)
	if err != nil {
		return err
	}
	options := ""
	if flags&unix.MS_RDONLY == 0 {
		options = "noinit_itable"
	}
	return mountAt(device, "ext4", at, flags, options)
}

// mountRoot mounts the root file system on newRoot, out of the drives with those serials.
func mountRoot(join model.Join, serials []string) error {
	switch {
	case join == model.JoinNone && len(serials) == 1:
		return mountDrive(serials[0], newRoot, 0)
	case join == model.JoinOverlay && len(serials) == 2:
		return mountOverlay(serials[0], serials[1])
	}
	return fmt.Errorf("cannot make a root of the drives %q by the join %d", serials, join)
}

// mountSystem mounts, inside the new root, the file systems that every program expects. Without the first two nothing
// works; what else an image has no place for, it does without.
func mountSystem() error {
	const quiet = unix.MS_NOSUID | unix.MS_NODEV
	var missing error
	for i, m := range []struct {
		kind, at string
		flags    uintptr
		data     string
	}{
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
		{"proc", "/proc", quiet | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", quiet | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", quiet, "mode=0755"},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", quiet, "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", quiet | unix.MS_NOEXEC, "nsdelegate"},
	} {
		err := mountAt(m.kind, m.kind, m.at, m.flags, m.data)
		if err != nil && i < 2 {
			return err
		}
		missing = errors.Join(missing, err)
	}
	if missing != nil {
		fmt.Fprintln(os.Stderr, "banger-agent:", missing)
	}
	linkStandard()
	if err := os.Mkdir("/tmp", 0o777); err == nil {
		_ = os.Chmod("/tmp", 0o777|os.ModeSticky) // the umask took bits from it
	}
	return nil
}

// linkStandard makes the names in /dev that shells use and the kernel does not make.
func linkStandard() {
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		_ = os.Symlink(target, filepath.Join("/dev", name)) // one that is there already serves as well
	}
}

// mountModules puts the kernel's modules where modprobe looks for them: the drive's lib/modules, or its top directory. The
// drive itself stays out of sight.
func mountModules(serial string) error {
	const staging, at = "/run/banger/modules", "/lib/modules"
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := mountDrive(serial, staging, flags); err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(staging, unix.MNT_DETACH) }() // what stays mounted is only out of sight
	inside := staging + at
	if _, err := os.Stat(inside); err != nil {
		inside = staging
	}
	return mountAt(inside, "", at, unix.MS_BIND, "")
}

// mountDisks mounts what lies inside the root.
func mountDisks(c agent.Config) error {
	if c.Modules != "" {
		// A guest without its modules still runs commands.
		if err := mountModules(c.Modules); err != nil {
			fmt.Fprintln(os.Stderr, "banger-agent:", err)
		}
	}
	if c.Work != "" {
		return mountWork(c.Work, c.User)
	}
	return nil
}
