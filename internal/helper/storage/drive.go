package storage

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// MaxDrives is how many drives a VM has at most.
const MaxDrives = 8

// partDrive and a number stand in the label of a drive's loop device.
const partDrive = "drive"

// Drive is a block device that a VMM without access to its owner's files is given.
type Drive struct {
	Loop string // "/dev/loop3"; "" for a snapshot's, whose device it is
	Dev  uint64 // the device's number
}

// OpenDrive makes a loop device over a file of the owner's, opened as it will be used, for a VM's drive of that number. It
// stays until CloseDrives: who is to open it may not be there yet.
func (h *Host) OpenDrive(id model.VMID, n int, file *os.File, readOnly bool) (Drive, error) {
	if err := errors.Join(h.check(id), h.CheckDrive(n, file, readOnly)); err != nil {
		return Drive{}, err
	}
	var flags uint32
	if readOnly {
		flags = unix.LO_FLAGS_READ_ONLY
	}
	device, err := h.newLoop(file, h.label(id, partDrive+strconv.Itoa(n)), flags)
	if err != nil {
		return Drive{}, err
	}
	defer device.Close()
	info, err := device.Stat()
	if err != nil {
		return Drive{}, err
	}
	dev, err := deviceOf(info)
	return Drive{Loop: device.Name(), Dev: dev}, err
}

// CheckDrive is an error for what OpenDrive does not take.
func (h *Host) CheckDrive(n int, file *os.File, readOnly bool) error {
	if n < 0 || n >= MaxDrives {
		return model.Errorf(model.ErrInvalid, "cannot make drive %d: a VM has at most %d", n, MaxDrives)
	}
	access := unix.O_RDWR
	if readOnly {
		access = unix.O_RDONLY
	}
	stat, err := h.checkFile(file, access)
	if err != nil {
		return model.HostErrorf(err, "cannot use the file of drive %d", n)
	}
	if stat.Size <= 0 || stat.Size%sectorBytes != 0 || stat.Size > model.MaxDiskBytes {
		return model.Errorf(model.ErrInvalid, "cannot use a file of %d bytes for drive %d", stat.Size, n)
	}
	return nil
}

// SnapshotDrive is the VM's snapshot as a drive.
func (h *Host) SnapshotDrive(id model.VMID) (Drive, error) {
	if err := h.check(id); err != nil {
		return Drive{}, err
	}
	dm, err := openControl()
	if err != nil {
		return Drive{}, err
	}
	defer dm.close()
	state, err := dm.status(h.uuid(id), false)
	if errors.Is(err, errNoDevice) || err == nil && (!state.active || state.removing) {
		return Drive{}, model.Errorf(model.ErrNotFound, "there is no snapshot of %s", id)
	}
	return Drive{Dev: state.dev}, err
}

// CloseDrives frees the loop devices of the VM's drives, once nothing has them open. That there are none is success.
func (h *Host) CloseDrives(ctx context.Context, id model.VMID) error {
	if err := h.check(id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return h.clear(ctx, id, isDrive)
}

// Drives are the VMs of this installation that have loop devices for drives, with these.
func (h *Host) Drives() (map[model.VMID][]string, error) {
	loops, err := h.loops(isDrive)
	if err != nil {
		return nil, err
	}
	found := map[model.VMID][]string{}
	for _, l := range loops {
		found[l.id] = append(found[l.id], l.path)
	}
	return found, nil
}

func isDrive(part string) bool {
	digits, drive := strings.CutPrefix(part, partDrive)
	n, err := strconv.Atoi(digits)
	return drive && err == nil && n >= 0 && n < MaxDrives && strconv.Itoa(n) == digits
}

// isSnapshot says whether a part is one of a snapshot.
func isSnapshot(part string) bool { return part == partBase || part == partCOW }
