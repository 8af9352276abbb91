package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"banger/internal/image"
	"banger/internal/image/tarfilter"
	"banger/internal/model"
)

// recipe is the lab's system. Whatever changes in here makes a new one.
func recipe() image.System {
	return image.System{
		Bytes: 16 * model.GiB,
		Packages: []string{
			"systemd", "systemd-sysv", "udev", "dbus", "systemd-resolved", "libpam-systemd", "sudo", // what a host has
			"kmod", "procps", "less", "netbase", "iproute2", "iputils-ping",
			"nftables", "iptables", "dmsetup", "libcap2-bin", "strace", // what the drivers' work is looked at with
			"qemu-system-x86", "qemu-utils", "e2fsprogs", "git", // what banger and its tests run
			"openssh-client", "curl", "tcpdump", // what the scenarios use
			"firewalld", "ufw", // whose rules a host may have beside banger's
		},
		// They are started by the scenario that is about them, and are no part of a boot.
		Files: []tarfilter.File{
			{Name: "etc/systemd/system/firewalld.service", Link: "/dev/null"},
			{Name: "etc/systemd/system/ufw.service", Link: "/dev/null"},
		},
		Modules: []string{
			"virtio_pci", "virtio_blk", "virtio_console", "virtio-rng", "ext4", "crc32c_generic",
		},
	}
}

// system returns the directory with the lab's system, which is made when there is none of this recipe.
func system(ctx context.Context, cache string) (string, error) {
	raw, err := json.Marshal(recipe())
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, fmt.Sprintf("system-%.16x", sha256.Sum256(raw)))
	lock, err := lockFile(ctx, filepath.Join(cache, "system.lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, os.Chtimes(dir, time.Now(), time.Now()) // it is in use
	}
	temp, err := os.MkdirTemp(cache, ".tmp-")
	if err != nil {
		return "", err
	}
	begin, stage := time.Now(), ""
	err = image.BuildSystem(ctx, temp, recipe(), func(p model.Progress) {
		if p.Stage != stage {
			stage = p.Stage
			fmt.Fprintf(os.Stderr, "lab: making its system: %s\n", stage)
		}
	})
	if err == nil {
		err = os.Rename(temp, dir)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	fmt.Fprintf(os.Stderr, "lab: its system was made in %.0f s\n", time.Since(begin).Seconds())
	return dir, nil
}
