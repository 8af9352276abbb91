package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// vsockModules are the socket family and, after it, the driver of its device.
var vsockModules = [...]string{"vsock.ko", "vmw_vsock_virtio_transport_common.ko", "vmw_vsock_virtio_transport.ko"}

// openVsock makes the agent's vsock channel and gives its listening socket to the agent. The modules come from the drive
// that has all of this kernel's, so that the initramfs need not carry what only some machines use. The driver is loaded
// last: whoever calls from the moment it is there finds the socket.
func openVsock(agent int) error {
	modules, err := vsockFiles()
	if err != nil {
		return err
	}
	listener := -1
	defer func() { unix.Close(listener) }()
	for i, m := range modules {
		if m != nil {
			if err := loadModule(m); err != nil {
				return fmt.Errorf("cannot load the kernel module %s: %w", vsockModules[i], err)
			}
		}
		if i > 0 {
			continue
		}
		if listener, err = listenVsock(); err != nil {
			return err
		}
		if err := unix.Sendmsg(agent, []byte{0}, unix.UnixRights(listener), nil, 0); err != nil {
			return fmt.Errorf("cannot give the agent its channel: %w", err)
		}
	}
	return nil
}

// vsockFiles opens the modules; one that this kernel has built in is nil.
func vsockFiles() (files [len(vsockModules)]*os.File, err error) {
	const at = "/modules.drive"
	if err := mountDrive(model.SerialModules, at, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return files, err
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }() // the open files outlive it
	for i, name := range vsockModules {
		// As mountModules has it: the drive's lib/modules, or its top directory; below it, the kernel's release.
		for _, pattern := range []string{at + "/*/kernel/net/vmw_vsock/" + name, at + "/lib/modules/*/kernel/net/vmw_vsock/" + name} {
			found, err := filepath.Glob(pattern)
			if err != nil || len(found) == 0 {
				continue
			}
			if files[i], err = os.Open(found[0]); err != nil {
				return files, fmt.Errorf("cannot read a kernel module: %w", err)
			}
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
