package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"banger/test/lab/wire"
)

// What every program started here is given.
const (
	searchPath = wire.Payload + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	userName   = "user"
	userID     = 1000
)

// prepare makes of a fresh Debian what the scenarios expect of a host. The modules are those that a host which uses them
// has loaded already or loads by itself, and that are asked for by no name here.
func prepare() error {
	return errors.Join(
		command("modprobe", "--all", "kvm_amd", "vhost_vsock", "dm_snapshot", "loop", "tun"),
		command("udevadm", "settle", "--timeout=60"), // it gives the devices to their groups
		makeUser(),
		ownImages(),
		os.MkdirAll(wire.Results, 0o755),
		os.Chmod(wire.Results, os.ModeSticky|0o777), // the ordinary user's scenarios leave something there, too
		os.MkdirAll(wire.Kept, 0o755),
		os.Chmod(wire.Kept, os.ModeSticky|0o777),
		os.WriteFile("/etc/profile.d/lab.sh", []byte(profile), 0o644),
	)
}

// profile is for shells.
const profile = "export PATH=" + searchPath + " XDG_DATA_HOME=" + wire.Images + "\nPS1='lab:\\w# '\n"

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// makeUser makes an ordinary user who may use KVM, and sudo without a password, as whoever installs something would. A
// reboot finds the one of the first boot.
func makeUser() error {
	if _, err := os.Stat(filepath.Join("/home", userName)); err == nil {
		return nil
	}
	return errors.Join(
		command("useradd", "--uid", fmt.Sprint(userID), "--create-home", "--shell", "/bin/bash", "--groups", "kvm", userName),
		os.WriteFile("/etc/sudoers.d/lab", []byte(userName+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440),
	)
}

// ownImages gives root what the host's user made.
func ownImages() error {
	dir := filepath.Join(wire.Images, "banger")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // the host gave none
	}
	return errors.Join(command("chown", "-R", "root:root", dir), os.Chmod(wire.Images, 0o700), os.Chmod(dir, 0o700))
}
