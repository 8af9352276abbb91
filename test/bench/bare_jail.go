package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// jailUser is nobody's id.
const jailUser = 2013265900

// imprison makes what the jailer needs: a root in memory with the disks' devices, the kernel and the initramfs.
func (v *bareBoot) imprison() error {
	jailer, err := exec.LookPath("jailer")
	if err != nil {
		return err
	}
	program, err := exec.LookPath("firecracker")
	if err != nil {
		return err
	}
	base := filepath.Join(v.dir, "jail")
	if err := os.Mkdir(base, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("bench", base, "tmpfs", unix.MS_NOSUID, "mode=0700"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs: %w", err)
	}
	v.undo = append(v.undo, func() error { return unix.Unmount(base, unix.MNT_DETACH) })
	root := filepath.Join(base, "firecracker", string(v.id), "root")
	v.sockets = filepath.Join(root, "vm")
	if err := errors.Join(os.MkdirAll(v.sockets, 0o755), os.MkdirAll(filepath.Join(root, "disks"), 0o755), os.Chown(v.sockets, jailUser, jailUser)); err != nil {
		return err
	}
	disks := 0
	for i := range v.calls {
		body := v.calls[i].body
		for key, file := range map[string]string{"kernel_image_path": "kernel", "initrd_path": "initrd"} {
			if path, ok := body[key].(string); ok {
				if err := copyInto(path, filepath.Join(v.sockets, file)); err != nil {
					return err
				}
				body[key] = "/vm/" + file
			}
		}
		if path, ok := body["path_on_host"].(string); ok {
			dev, err := v.deviceFor(path, body["is_read_only"] == true)
			if err != nil {
				return err
			}
			inside := "/disks/" + strconv.Itoa(disks)
			disks++
			if err := errors.Join(unix.Mknod(root+inside, unix.S_IFBLK|0o600, int(dev)), os.Chown(root+inside, jailUser, jailUser)); err != nil {
				return err
			}
			body["path_on_host"] = inside
		}
		for _, key := range []string{"uds_path", "serial_out_path"} {
			if path, ok := body[key].(string); ok {
				body[key] = "/vm/" + filepath.Base(path)
			}
		}
	}
	uid := strconv.Itoa(jailUser)
	v.cmd = exec.Command(jailer, "--id", string(v.id), "--exec-file", program, "--uid", uid, "--gid", uid,
		"--chroot-base-dir", base, "--cgroup-version", "2", "--", "--api-sock", "/vm/"+apiSocket, "--level", "Info")
	return nil
}

// deviceFor is the number of a device that stands for path: itself, or a loop device over it.
func (v *bareBoot) deviceFor(path string, readOnly bool) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFBLK {
		return stat.Rdev, nil
	}
	flags, access := uint32(unix.LO_FLAGS_AUTOCLEAR), os.O_RDWR
	if readOnly {
		flags, access = flags|unix.LO_FLAGS_READ_ONLY, os.O_RDONLY
	}
	file, err := os.OpenFile(path, access, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	device, dev, err := v.bare.snapshots.loop(file, "bench", flags)
	if err != nil {
		return 0, err
	}
	v.undo = append(v.undo, device.Close) // it is free with the last close
	return dev, nil
}
