// Package testenv skips tests that need what this machine does not have, naming it.
package testenv

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/hosttool"
)

// NeedRoot skips the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not run: needs root")
	}
}

// NeedKVM skips the test unless /dev/kvm can be opened. It says nothing of KVM's speed.
func NeedKVM(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("not run: needs KVM: %v", err)
	}
	_ = f.Close()
}

// NeedTool skips the test unless the program is installed, and returns its path.
func NeedTool(t testing.TB, name string) string {
	t.Helper()
	path, err := hosttool.Find(name, name)
	if err != nil {
		t.Skipf("not run: needs the program %s", name)
	}
	return path
}

// SmallDisk returns a directory on a file system of its own that holds only the given number of bytes. It needs root.
func SmallDisk(t testing.TB, bytes int64) string {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("banger-test", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("not run: needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %s: %v", dir, err)
		}
	})
	return dir
}
