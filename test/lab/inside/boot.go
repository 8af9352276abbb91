package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/test/lab/wire"
)

const (
	newRoot   = "/root-of-the-lab"
	service   = "/run/systemd/system/lab.service"
	firstInit = "/usr/lib/systemd/systemd"
)

// unit runs this program again once the system is up. It is written at each boot, so that the image need not be made
// again when it changes.
const unit = `[Unit]
Description=The lab's end of the wire
After=basic.target

[Service]
ExecStart=` + wire.Payload + `/inside
StandardOutput=journal+console
StandardError=journal+console
TasksMax=infinity
LimitNOFILE=1048576
OOMPolicy=continue
Delegate=yes
`

// boot is the initramfs's /init.
func boot() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return err
		}
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	disks, err := findDisks(wire.DiskRoot, wire.DiskModules, wire.DiskPayload)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		device, at string
		flags      uintptr
	}{
		{disks[wire.DiskRoot], "/", unix.MS_NOATIME},
		{disks[wire.DiskModules], "/usr/lib/modules", unix.MS_RDONLY},
		{disks[wire.DiskPayload], wire.Payload, unix.MS_RDONLY},
		{disks[wire.DiskImages], filepath.Join(wire.Images, "banger"), unix.MS_NOATIME},
	} {
		if m.device == "" {
			continue
		}
		if err := mount(m.device, filepath.Join(newRoot, m.at), "ext4", m.flags, ""); err != nil {
			return err
		}
	}
	if err := mount("tmpfs", newRoot+"/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(newRoot, filepath.Dir(service)), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(newRoot, service), []byte(unit), 0o644); err != nil {
		return err
	}
	return switchRoot()
}

func mount(source, at, kind string, flags uintptr, data string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, at, kind, flags, data); err != nil {
		return fmt.Errorf("cannot mount %s at %s: %w", source, at, err)
	}
	return nil
}

// loadModules loads what a list names, in its order.
func loadModules(list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(text)) {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("cannot load %s: %w", path, err)
		}
	}
	return nil
}

// findDisks returns the devices of all disks by their serials, once those that are needed are there: they appear a moment
// after their driver.
func findDisks(needed ...string) (map[string]string, error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		disks := map[string]string{}
		found, _ := filepath.Glob("/sys/block/vd*/serial")
		for _, path := range found {
			if serial, err := os.ReadFile(path); err == nil {
				disks[strings.TrimSpace(string(serial))] = filepath.Join("/dev", filepath.Base(filepath.Dir(path)))
			}
		}
		missing := 0
		for _, serial := range needed {
			if disks[serial] == "" {
				missing++
			}
		}
		if missing == 0 {
			return disks, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the lab's disks are not there: %v", disks)
		}
	}
}

// switchRoot makes the new root the root and becomes its init. What the initramfs holds is removed: it is memory.
func switchRoot() error {
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("cannot move %s: %w", dir, err)
		}
	}
	for _, path := range []string{"/modules", "/lib", "/init"} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return err
	}
	return unix.Exec(firstInit, []string{firstInit}, []string{"PATH=/usr/sbin:/usr/bin", "TERM=dumb", "SYSTEMD_COLORS=0"})
}
