package servetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/helper/storage"
	"banger/internal/model"
	"banger/internal/testenv"
)

// stranger is nobody here, and no caller.
const stranger = 54322

// Strange are descriptors, open for access (os.O_RDONLY or os.O_RDWR), of what is no file on a disk, whatever a verb takes it
// for: devices, other users' to begin with, processes, memory, files of the kernel's. Those that can be are of that size.
// The test's log names what this host does not have, or who tests may not open.
func Strange(t *testing.T, access int, size int64) map[string]*os.File {
	t.Helper()
	paths := anothersDevices(t)
	pidfd, perr := unix.PidfdOpen(1, 0)
	memfd, merr := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err := errors.Join(perr, merr, unix.Ftruncate(memfd, size)); err != nil {
		t.Fatal(err)
	}
	all := map[string]*os.File{"the first process": os.NewFile(uintptr(pidfd), "pidfd"), "memory": os.NewFile(uintptr(memfd), "memfd")}
	t.Cleanup(func() {
		for _, f := range all {
			_ = f.Close()
		}
	})
	paths["a device that takes everything"] = os.DevNull
	paths["memory by its path"] = fmt.Sprintf("/proc/self/fd/%d", memfd)
	paths["another process's memory"] = fmt.Sprintf("/proc/%d/mem", os.Getppid())
	paths["a setting of the kernel's"] = "/proc/sys/kernel/hostname"
	paths["a setting of a device's"] = "/sys/class/net/lo/mtu" // is a page long
	for name, path := range paths {
		f, err := os.OpenFile(path, access|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Logf("not among them: %s: %v", name, err)
			continue
		}
		all[name] = f
	}
	dir, err := os.OpenFile(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	all["a path to a directory"] = dir
	return all
}

// anothersDevices are the paths of block devices of another user's VM, of each kind that this host has.
func anothersDevices(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	if os.Geteuid() != 0 {
		t.Log("not among them: another's block devices: only root can make some")
		return found
	}
	h, id := storage.New(storage.Options{Instance: model.NewInstanceID(), UID: stranger, GID: stranger, Udev: testenv.Udev{}}), model.NewVMID()
	t.Cleanup(func() {
		ctx := context.Background() // the test's own has ended
		if err := errors.Join(h.Detach(ctx, id), h.CloseDrives(ctx, id)); err != nil {
			t.Error(err)
		}
	})
	const size = 4 << 20
	if d, err := h.OpenDrive(id, 0, anothers(t, size, os.O_RDWR), false); err != nil {
		t.Logf("not among them: another's loop device: %v", err)
	} else {
		found["another's loop device"] = d.Loop
	}
	if s, err := h.Attach(t.Context(), id, anothers(t, size, os.O_RDONLY), anothers(t, storage.COWBytes(size), os.O_RDWR)); err != nil {
		t.Logf("not among them: another's mapped device: %v", err)
	} else {
		found["another's mapped device"], found["a loop device below it"] = s.Node, s.COWLoop
	}
	return found
}

// anothers is a file of another user's that fits in all else.
func anothers(t *testing.T, size int64, flags int) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size), os.Chown(path, stranger, stranger)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
