package linux

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program in the initramfs. newRoot is where the root file system is mounted before it becomes the root.
const (
	self    = "/init"
	newRoot = "/newroot"
)

// boot is process 1.
func boot() error {
	err := mountFirst()
	if err == nil {
		if command, ok := benchCommand(); ok {
			err = bench(command)
		} else {
			err = first()
		}
	}
	fmt.Fprintln(os.Stderr, "banger-agent:", err)
	unix.Sync()
	// Process 1 must not end: that would be a panic of the kernel, which hides the reason.
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

// first starts the agent and then does as it says.
func first() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot make a socket pair: %w", err)
	}
	// The agent's start and the loading of the modules take about as long: they go side by side.
	_, err = syscall.ForkExec(self, []string{agentName}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, uintptr(pair[1])}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("cannot start the agent: %w", err)
	}
	unix.Close(pair[1])
	if _, err := loadModules(); err != nil {
		return err
	}
	if told(channelParameter) {
		if err := openVsock(pair[0]); err != nil {
			return err
		}
	}
	return obey(pair[0])
}

// The orders that the agent gives to process 1.
const (
	orderSwitch = "switch" // move newRoot to / and follow
	orderStay   = "stay"   // reap orphans for ever
	orderInit   = "init "  // become the program named after it
	orderDone   = "done"   // the answer to switch
)

// obey follows the agent's orders until there is nothing more to do for process 1.
func obey(socket int) error {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(socket, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return fmt.Errorf("the agent ended before the guest was configured")
		}
		order := string(buf[:n])
		switch {
		case order == orderSwitch:
			answer := orderDone
			if err := switchRoot(); err != nil {
				answer = err.Error()
			}
			if _, err := unix.Write(socket, []byte(answer)); err != nil {
				return fmt.Errorf("cannot answer the agent: %w", err)
			}
		case order == orderStay:
			return reapOrphans()
		case strings.HasPrefix(order, orderInit):
			program := strings.TrimPrefix(order, orderInit)
			err := syscall.Exec(program, []string{program}, []string{"HOME=/", "TERM=linux"})
			fmt.Fprintf(os.Stderr, "banger-agent: cannot run %s as process 1: %v; going on without it\n", program, err)
			return reapOrphans()
		}
	}
}

// switchRoot makes newRoot the root of the mount tree and of process 1. The agent follows by itself.
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
	return enterRoot()
}

func enterRoot() error {
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	return unix.Chdir("/")
}

// reapOrphans collects what ends with no parent. Without an agent nobody can reach the guest any more: it powers off.
func reapOrphans() error {
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.ECHILD) {
			return fmt.Errorf("the agent ended")
		}
	}
}
