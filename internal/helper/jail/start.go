package jail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/helper/owned"
	"banger/internal/helper/storage"
	"banger/internal/model"
)

// Spec is what a VM is to have.
type Spec struct {
	Slot        int
	VCPUs       int
	MemoryBytes int64
	Drives      []Drive
	Network     Network
}

// Drive is one of its drives.
type Drive struct {
	File     *os.File // opened as it will be used; nil for the VM's snapshot, of which there is one at most
	ReadOnly bool
}

// startLimit bounds a start, on a host whose every core is busy.
const startLimit = time.Minute

// Start runs the VM's VMM and returns when it listens in the directory that it shares with the owner. lock becomes its
// standard input, and log, a FIFO, its output and its errors. Nothing is left behind when it fails.
func (h *Host) Start(ctx context.Context, id model.VMID, s Spec, lock, log *os.File) (VM, error) {
	fail := func(err error) (VM, error) {
		return VM{}, model.HostErrorf(err, "cannot run the VMM of %s in a jail", id)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := errors.Join(ctx.Err(), h.check(id)); err != nil {
		return fail(err)
	}
	if err := h.checkSpec(id, s, lock, log); err != nil {
		return fail(err)
	}
	if problem := h.Problem(); problem != "" {
		return fail(model.Errorf(model.ErrUnsupported, "%s", problem))
	}
	switch pid, err := h.Process(id); {
	case err != nil:
		return fail(err)
	case pid != 0:
		return fail(model.Errorf(model.ErrState, "one runs already, process %d", pid))
	}
	if err := h.Remove(ctx, id); err != nil {
		return fail(err)
	}
	crash.At("jail.start.before")
	vm, err := h.start(ctx, id, s, lock, log)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), startLimit)
		defer cancel()
		return fail(errors.Join(err, h.Remove(clean, id)))
	}
	crash.At("jail.start.after")
	return vm, nil
}

// checkSpec refuses what no VM may be given. Who calls may be an ordinary user.
func (h *Host) checkSpec(id model.VMID, s Spec, lock, log *os.File) error {
	uid, err := h.UID(s.Slot)
	if err != nil {
		return err
	}
	if err := nobodys(uid); err != nil {
		return err
	}
	switch {
	case s.VCPUs < 1 || s.VCPUs > model.MaxVCPUs:
		return model.Errorf(model.ErrInvalid, "%d vCPUs are no number of them", s.VCPUs)
	case s.MemoryBytes < model.MinMemoryBytes || s.MemoryBytes > model.MaxMemoryBytes:
		return model.Errorf(model.ErrInvalid, "%d bytes are no size of its memory", s.MemoryBytes)
	case len(s.Drives) > storage.MaxDrives:
		return model.Errorf(model.ErrInvalid, "%d drives are more than %d", len(s.Drives), storage.MaxDrives)
	}
	snapshots := 0
	for n, d := range s.Drives {
		if d.File == nil {
			snapshots++
		} else if err := h.disks.CheckDrive(n, d.File, d.ReadOnly); err != nil {
			return err
		}
	}
	if snapshots > 1 {
		return model.Errorf(model.ErrInvalid, "it has one snapshot and not %d", snapshots)
	}
	if _, err := owned.Check(lock, h.o.UID, unix.S_IFREG, unix.O_RDWR); err != nil {
		return model.HostErrorf(err, "cannot use the lock")
	}
	if _, err := owned.Check(log, h.o.UID, unix.S_IFIFO, unix.O_RDWR); err != nil {
		return model.HostErrorf(err, "cannot use the log")
	}
	if s.Network < NetworkNone || s.Network > NetworkTap {
		return model.Errorf(model.ErrInvalid, "%d is no network of its", s.Network)
	}
	wire, err := h.findWire(id, s.Slot, s.Network)
	wire.close()
	return err
}

func (h *Host) start(ctx context.Context, id model.VMID, s Spec, lock, log *os.File) (VM, error) {
	uid := h.uid(s.Slot)
	if err := h.makeDir(id, uid); err != nil {
		return VM{}, err
	}
	crash.At("jail.start.dir")
	// Now that there is a jail nobody takes it for of no use. Its owner sees that it is not there, and does without it.
	_ = h.makeStock()
	if err := h.makeCgroup(id, s); err != nil {
		return VM{}, err
	}
	crash.At("jail.start.cgroup")
	j := root{uid: uid, slot: s.Slot, network: s.Network}
	vm := VM{ID: id, Dir: h.Path(id), Cgroup: h.cgroup(id), UID: uid}
	for n, d := range s.Drives {
		drive, err := h.drive(id, n, d)
		if err != nil {
			return VM{}, err
		}
		if drive.Loop != "" {
			vm.Loops = append(vm.Loops, drive.Loop)
		}
		j.nodes = append(j.nodes, node{dev: drive.Dev, readOnly: d.ReadOnly})
	}
	crash.At("jail.start.drives")
	watcher, err := fsnotify.NewWatcher() // before the process: its socket must not appear unseen
	if err != nil {
		return VM{}, err
	}
	defer watcher.Close()
	if err := watcher.Add(h.Path(id)); err != nil {
		return VM{}, err
	}
	vm.PID, err = h.run(id, j, lock, log, func(dead <-chan *os.ProcessState) error {
		crash.At("jail.start.spawned")
		return h.listens(ctx, id, watcher, dead)
	})
	return vm, err
}

func (h *Host) drive(id model.VMID, n int, d Drive) (storage.Drive, error) {
	if d.File == nil {
		return h.disks.SnapshotDrive(id)
	}
	return h.disks.OpenDrive(id, n, d.File, d.ReadOnly)
}

// listens returns when the VMM's socket is there.
func (h *Host) listens(ctx context.Context, id model.VMID, watcher *fsnotify.Watcher, dead <-chan *os.ProcessState) error {
	for {
		if info, err := os.Lstat(filepath.Join(h.Path(id), Socket)); err == nil && info.Mode().Type() == os.ModeSocket {
			return nil
		}
		select {
		case <-watcher.Events:
		case err := <-watcher.Errors:
			return fmt.Errorf("cannot wait for it: %w", err)
		case state := <-dead:
			return model.Errorf(model.ErrUnavailable, "it ended at once: %s", state)
		case <-ctx.Done():
			return fmt.Errorf("it does not listen: %w", ctx.Err())
		}
	}
}
