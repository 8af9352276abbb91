package linux

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// self is this program in the initramfs. newRoot is where the root file system is mounted before it becomes the root.
const (
	self    = "/init"
	newRoot = "/newroot"
)

// boot is the agent from its start on.
func boot(version string) error {
	err := mountFirst()
	if err == nil {
		if command, ok := benchCommand(); ok {
			err = bench(command)
		} else {
			err = serve(version)
		}
	}
	return end(err)
}

// end ends the machine because of err. It returns only when it cannot.
func end(err error) error {
	fmt.Fprintln(os.Stderr, "banger-agent:", err)
	unix.Sync()
	_ = powerOff()
	return err
}

// mountFirst mounts what programs and modules need.
func mountFirst() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := mountAt(m.kind, m.kind, m.at, 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// orderStay has process 1 do nothing but reap orphans. Every other order is the path of the program that it becomes.
const orderStay = "stay"

// order tells process 1 what to be from now on. It is told once, and does not answer.
func (s *System) order(text string) error {
	if _, err := s.first.WriteString(text + "\x00"); err != nil {
		return fmt.Errorf("cannot order process 1: %w", err)
	}
	return nil
}

// switchRoot makes newRoot the root of the mount tree, and of this process and process 1, which share theirs.
func switchRoot() error {
	for _, at := range []string{"/dev", "/sys", "/proc"} {
		_ = unix.Unmount(at, unix.MNT_DETACH) // what stays mounted is only out of sight
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("cannot enter the root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	return unix.Chdir("/")
}
