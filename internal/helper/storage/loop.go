package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

const loopControl = "/dev/loop-control"

// loopTries is how often a free loop device is asked for: others may take the one that was named to us first.
const loopTries = 100

// loop is a loop device of this installation.
type loop struct {
	path string
	dev  string // its number
	id   model.VMID
	part string
	info *unix.LoopInfo64
}

// newLoop makes a loop device over file, of that name and with those flags. The caller has it open, by what is returned.
func (h *Host) newLoop(file *os.File, label string, flags uint32) (_ *os.File, err error) {
	if err := h.udevKnows(); err != nil {
		return nil, err
	}
	control, err := os.OpenFile(loopControl, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd())}
	config.Info.Flags, config.Info.Sizelimit = flags, loopMark
	copy(config.Info.File_name[:len(config.Info.File_name)-1], label)
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("cannot get a loop device: %w", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		if err = errors.Join(err, device.Close()); !errors.Is(err, syscall.EBUSY) {
			return nil, fmt.Errorf("cannot set up %s: %w", device.Name(), err)
		}
	}
	return nil, model.Errorf(model.ErrUnavailable, "cannot get a loop device: others took each of %d first", loopTries)
}

// loops lists the loop devices of this installation that stand for such parts.
func (h *Host) loops(of func(part string) bool) ([]loop, error) {
	devices, err := os.ReadDir("/sys/block")
	if err != nil {
		return nil, err
	}
	var found []loop
	for _, d := range devices {
		if !strings.HasPrefix(d.Name(), "loop") {
			continue
		}
		// The directory loop is there for those that stand for something. A pattern would have the directory above read, too.
		if _, err := os.Lstat("/sys/block/" + d.Name() + "/loop"); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		l, err := h.readLoop("/dev/" + d.Name())
		if err != nil {
			return nil, err
		}
		if l != nil && of(l.part) {
			found = append(found, *l)
		}
	}
	return found, nil
}

// readLoop returns nil for a loop device that is not this installation's, or that has just ended.
func (h *Host) readLoop(path string) (*loop, error) {
	device, err := os.OpenFile(path, os.O_RDONLY, 0)
	if ended(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer device.Close()
	return h.statLoop(device)
}

func (h *Host) statLoop(device *os.File) (*loop, error) {
	info, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if ended(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s what it is: %w", device.Name(), err)
	}
	id, part, ours := h.ownerOfLabel(unix.ByteSliceToString(info.File_name[:]))
	if !ours {
		return nil, nil
	}
	stat, err := device.Stat()
	if err != nil {
		return nil, err
	}
	dev, err := deviceOf(stat)
	return &loop{path: device.Name(), dev: number(dev), id: id, part: part, info: info}, err
}

// ended says whether an error means that a loop device stands for nothing, or is not there.
func ended(err error) bool {
	return errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) || errors.Is(err, fs.ErrNotExist)
}

// clearLoop frees a loop device, unless it has become another's meanwhile; what has it open keeps it until it ends.
func (h *Host) clearLoop(l loop) error {
	device, err := os.OpenFile(l.path, os.O_RDONLY, 0)
	if ended(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer device.Close()
	now, err := h.statLoop(device)
	if err != nil || now == nil || now.id != l.id || now.part != l.part {
		return err
	}
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !ended(err) && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("cannot free %s: %w", l.path, err)
	}
	return nil
}

// over says whether the loop device stands for the file.
func (l loop) over(file *os.File) (bool, error) {
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Ino == l.info.Inode && stat.Dev == l.info.Device, nil
}

func deviceOf(info fs.FileInfo) (uint64, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Mode&syscall.S_IFMT != syscall.S_IFBLK {
		return 0, model.Errorf(model.ErrInvalid, "%s is not a block device", info.Name())
	}
	return stat.Rdev, nil
}
