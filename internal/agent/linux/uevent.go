package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// await returns what find finds, trying again at each event of the kernel's devices until limit (0 for none) is over. No
// event is missed between a look and the wait: they are listened for first.
func await(what string, limit time.Duration, find func() (string, bool)) (string, error) {
	if found, ok := find(); ok {
		return found, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return "", fmt.Errorf("cannot listen for devices: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return "", fmt.Errorf("cannot listen for devices: %w", err)
	}
	end := time.Now().Add(limit)
	for buf := make([]byte, 8<<10); ; {
		if found, ok := find(); ok {
			return found, nil
		}
		if limit > 0 {
			left := time.Until(end)
			if left <= 0 {
				return "", fmt.Errorf("cannot find %s: it did not appear within %s", what, limit)
			}
			timeout := unix.NsecToTimeval(left.Nanoseconds())
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
				return "", fmt.Errorf("cannot wait for %s: %w", what, err)
			}
		}
		_, err := unix.Read(fd, buf)
		switch {
		case err == nil, errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		default:
			return "", fmt.Errorf("cannot wait for %s: %w", what, err)
		}
	}
}

// findBySysfs looks for a device of a class whose attribute has that value and whose node is there.
func findBySysfs(class, attribute, value string) (string, bool) {
	devices, err := os.ReadDir(class)
	if err != nil {
		return "", false
	}
	for _, d := range devices {
		text, err := os.ReadFile(filepath.Join(class, d.Name(), attribute))
		if err != nil || strings.TrimSpace(string(text)) != value {
			continue
		}
		node := "/dev/" + d.Name()
		if _, err := os.Lstat(node); err == nil {
			return node, true
		}
	}
	return "", false
}
