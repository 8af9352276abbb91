package linux

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// powerOff ends the machine; it returns only when it cannot. Where there is no power switch the reset by the keyboard's
// controller is what the VMM takes for one: a panic, and a reboot that nobody asked the agent for, reset the machine in
// another way.
func powerOff() error {
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if told(offParameter) {
		how = unix.LINUX_REBOOT_CMD_RESTART
		if err := os.WriteFile("/sys/kernel/reboot/type", []byte("kbd"), 0); err != nil {
			fmt.Fprintln(os.Stderr, "banger-agent: cannot choose how the machine is switched off:", err)
		}
	}
	return unix.Reboot(how)
}

// shutdownName is the name of this program beside itself in the initramfs, and shutdownRoot where systemd looks, at its
// very end, for a program that takes the machine over from it (its initrd interface).
const (
	shutdownName = "shutdown"
	shutdownRoot = "/run/initramfs"
)

// takeShutdown lets systemd's last act be this program's, on a machine that systemd's own way of switching the power off
// would leave halted for ever. It is called in the new root; initramfs is a descriptor of the old one.
func takeShutdown(initramfs int) error {
	old := fmt.Sprintf("/proc/self/fd/%d", initramfs)
	if err := os.Link(filepath.Join(old, self), filepath.Join(old, shutdownName)); err != nil {
		return fmt.Errorf("cannot prepare the shutdown: %w", err)
	}
	for _, at := range []string{"dev", "proc", "run", "sys", "oldroot"} { // where it moves what is mounted
		if err := os.MkdirAll(filepath.Join(old, at), 0o755); err != nil {
			return fmt.Errorf("cannot prepare the shutdown: %w", err)
		}
	}
	// It was nobody's to see until now.
	if err := os.Chmod(old, 0o755); err != nil {
		return fmt.Errorf("cannot prepare the shutdown: %w", err)
	}
	return mountAt(old, "", shutdownRoot, unix.MS_BIND, "")
}

// shutdown is process 1 after systemd, which has ended all processes and made the disks read-only. verb is what it was
// asked for.
func shutdown(verb string) error {
	unix.Sync()
	if verb == "reboot" || verb == "kexec" {
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	return powerOff()
}
