package linux

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// openVsock makes the agent's vsock channel. The driver is loaded last: whoever calls from the moment it is there finds the
// socket.
func openVsock() (*vsockListener, error) {
	modules, err := openEarly(vsockModules)
	if err == nil && len(modules) == 0 {
		modules, err = vsockOnDrive()
	}
	if err != nil {
		return nil, err
	}
	if len(modules) > 0 && filepath.Base(modules[0].Name()) == vsockModules[0] {
		if err := loadAll(modules[:1]); err != nil {
			return nil, err
		}
		modules = modules[1:]
	}
	fd, err := listenVsock()
	if err != nil {
		return nil, err
	}
	listener, err := newVsockListener(fd)
	if err != nil {
		return nil, err
	}
	if err := loadAll(modules); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
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
