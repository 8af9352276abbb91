package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// openVsock makes the agent's vsock channel and gives its listening socket to the agent. The driver is loaded last: whoever
// calls from the moment it is there finds the socket.
func openVsock(agent int) error {
	modules, err := openEarly(vsockModules)
	if err == nil && len(modules) == 0 {
		modules, err = vsockOnDrive()
	}
	if err != nil {
		return err
	}
	if len(modules) > 0 && filepath.Base(modules[0].Name()) == vsockModules[0] {
		if err := loadAll(modules[:1]); err != nil {
			return err
		}
		modules = modules[1:]
	}
	listener, err := listenVsock()
	if err != nil {
		return err
	}
	defer unix.Close(listener)
	if err := unix.Sendmsg(agent, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("cannot give the agent its channel: %w", err)
	}
	return loadAll(modules)
}

// vsockOnDrive opens the modules on the drive with all of this kernel's: initramfses of earlier versions have none of them.
// Those that the kernel has built in are not there.
func vsockOnDrive() (files []*os.File, err error) {
	const at = "/modules.drive"
	if err := mountDrive(model.SerialModules, at, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return nil, err
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }() // the open files outlive it
	for _, name := range vsockModules {
		// As mountModules has it: the drive's lib/modules, or its top directory; below it, the kernel's release.
		for _, pattern := range []string{at + "/*/kernel/net/vmw_vsock/" + name, at + "/lib/modules/*/kernel/net/vmw_vsock/" + name} {
			found, err := filepath.Glob(pattern)
			if err != nil || len(found) == 0 {
				continue
			}
			file, err := os.Open(found[0])
			if err != nil {
				return files, fmt.Errorf("cannot read a kernel module: %w", err)
			}
			files = append(files, file)
		}
	}
	return files, nil
}

// receiveVsock waits for the socket that process 1 makes.
func receiveVsock(first *os.File) (int, error) {
	raw, err := first.SyscallConn()
	if err != nil {
		return -1, err
	}
	buf, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	var n, rn int
	werr := raw.Read(func(fd uintptr) bool {
		n, rn, _, _, err = unix.Recvmsg(int(fd), buf, rights, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if err := errors.Join(werr, err); err != nil {
		return -1, fmt.Errorf("cannot receive the channel: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil || n == 0 || len(messages) != 1 {
		return -1, fmt.Errorf("cannot receive the channel: process 1 sent none")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("cannot receive the channel: process 1 sent none")
	}
	return fds[0], nil
}
