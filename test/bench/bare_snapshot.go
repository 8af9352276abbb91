package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// bareSnapshots makes dm-snapshots by the kernel's calls and nothing else: what it needs is open before. They are called
// as banger calls its own of an installation without VMs, so that banger's code takes them away.
type bareSnapshots struct {
	instance      model.InstanceID
	loops, mapper *os.File
}

func newBareSnapshots() (*bareSnapshots, error) {
	b := &bareSnapshots{instance: model.NewInstanceID()}
	var err, merr error
	b.loops, err = os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	b.mapper, merr = os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err := errors.Join(err, merr, os.MkdirAll(b.dir(), 0o700)); err != nil {
		return nil, fmt.Errorf("%w; it needs root and the device-mapper", err)
	}
	return b, nil
}

func (b *bareSnapshots) dir() string { return "/dev/banger-" + string(b.instance) }

// make makes one of base with the changes in cow, and returns its node.
func (b *bareSnapshots) make(id model.VMID, base, cow *os.File) (node string, err error) {
	size, err := base.Seek(0, 2)
	if err != nil {
		return "", err
	}
	name := "banger-" + string(b.instance) + "-" + string(id)
	below, belowDev, err := b.loop(base, name+".base", unix.LO_FLAGS_AUTOCLEAR|unix.LO_FLAGS_READ_ONLY)
	if err != nil {
		return "", err
	}
	defer below.Close()
	above, aboveDev, err := b.loop(cow, name+".cow", unix.LO_FLAGS_AUTOCLEAR)
	if err != nil {
		return "", err
	}
	defer above.Close()
	uuid := "BANGER" + name[len("banger"):]
	dev, err := b.call(unix.DM_DEV_CREATE, name, uuid, 0, nil)
	if err != nil {
		return "", err
	}
	line := fmt.Sprintf("%d:%d %d:%d P 8\x00", unix.Major(belowDev), unix.Minor(belowDev), unix.Major(aboveDev), unix.Minor(aboveDev))
	spec := unix.DmTargetSpec{Length: uint64(size) / 512}
	copy(spec.Target_type[:], "snapshot")
	table, err := binary.Append(nil, binary.NativeEndian, spec)
	if err != nil {
		return "", err
	}
	table = append(table, line...)
	if _, err := b.call(unix.DM_TABLE_LOAD, name, "", 0, append(table, make([]byte, 8)...)); err != nil {
		return "", err
	}
	const handsOff = 0xf << 16
	if _, err := b.call(unix.DM_DEV_SUSPEND, name, "", handsOff, nil); err != nil {
		return "", err
	}
	node = filepath.Join(b.dir(), string(id))
	return node, unix.Mknod(node, unix.S_IFBLK|0o600, int(dev))
}

// loopMark is banger's own mark, and so are the mapped device's name and cookie: udev passes over both alike.
const loopMark = 0x62616e676572

// loop makes a loop device.
func (b *bareSnapshots) loop(file *os.File, label string, flags uint32) (*os.File, uint64, error) {
	n, err := unix.IoctlRetInt(int(b.loops.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, 0, err
	}
	device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	config := unix.LoopConfig{Fd: uint32(file.Fd())}
	config.Info.Flags, config.Info.Sizelimit = flags, loopMark
	copy(config.Info.File_name[:len(config.Info.File_name)-1], label)
	if err := unix.IoctlLoopConfigure(int(device.Fd()), &config); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("cannot set up %s: %w", device.Name(), err), device.Close())
	}
	return device, unix.Mkdev(7, uint32(n)), nil // 7 is the loop devices' major number
}

// call makes a call of the device-mapper and returns the device's number.
func (b *bareSnapshots) call(op uint, name, uuid string, event uint32, table []byte) (dev uint64, err error) {
	buffer := make([]byte, 4096)
	head := (*unix.DmIoctl)(unsafe.Pointer(&buffer[0]))
	head.Version = [3]uint32{unix.DM_VERSION_MAJOR, 0, 0}
	head.Data_size, head.Data_start, head.Event_nr = uint32(len(buffer)), unix.SizeofDmIoctl, event
	copy(head.Name[:len(head.Name)-1], name)
	if uuid != "" {
		copy(head.Uuid[:len(head.Uuid)-1], uuid)
	}
	if table != nil {
		head.Target_count = 1
		copy(buffer[unix.SizeofDmIoctl:], table)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, b.mapper.Fd(), uintptr(op), uintptr(unsafe.Pointer(head))); errno != 0 {
		return 0, fmt.Errorf("cannot call the device-mapper (%#x): %w", op, errno)
	}
	return head.Dev, nil
}

func (b *bareSnapshots) close() {
	b.loops.Close()
	b.mapper.Close()
	_ = os.Remove(b.dir()) // of whoever made it last
}
