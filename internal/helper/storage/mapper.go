package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

const mapperControl = "/dev/mapper/control"

// targetSnapshot is the kernel's name of what a snapshot is made of.
const targetSnapshot = "snapshot"

// errNoDevice is the answer for a device that is not there.
var errNoDevice = errors.New("there is no such mapped device")

// control is the device-mapper.
type control struct{ file *os.File }

// openControl has no device-mapper of a kernel that has none be a file that does not exist. A node of it can be there all the
// same, as dmsetup(8) makes one.
func openControl() (*control, error) {
	file, err := os.OpenFile(mapperControl, os.O_RDWR, 0)
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) {
		err = &os.PathError{Op: "open", Path: mapperControl, Err: os.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	return &control{file}, nil
}

func (c *control) close() { _ = c.file.Close() } // nothing was written

// mapped is a device as the device-mapper tells of it.
type mapped struct {
	name, uuid string
	dev        uint64
	active     bool   // it has a table and runs
	removing   bool   // it goes with the last close
	open       bool   // something has it open
	params     string // of its only target: its line, or its state
}

// request is one call: which device, by one of name and uuid, and what else the call wants.
type request struct {
	name, uuid string
	flags      uint32
	event      uint32 // what udev is told
	targets    uint32 // in payload
	payload    []byte
}

// answerBytes is how much an answer may take at first, and answerMost ever: 10,000 devices fit in a tenth of that.
const (
	answerBytes = 4 << 10
	answerMost  = 16 << 20
)

// call makes the ioctl, again with more room while the answer does not fit.
func (c *control) call(op uint, r request) (*unix.DmIoctl, []byte, error) {
	for size := answerBytes; size <= answerMost; size *= 4 {
		buffer := make([]byte, unix.SizeofDmIoctl+max(size, len(r.payload)))
		head := (*unix.DmIoctl)(unsafe.Pointer(&buffer[0]))
		// Of the interface's versions, the kernel takes any minor one.
		head.Version = [3]uint32{unix.DM_VERSION_MAJOR, 0, 0}
		head.Data_size, head.Data_start = uint32(len(buffer)), unix.SizeofDmIoctl
		head.Flags, head.Event_nr, head.Target_count = r.flags, r.event, r.targets
		copy(head.Name[:len(head.Name)-1], r.name)
		copy(head.Uuid[:len(head.Uuid)-1], r.uuid)
		copy(buffer[unix.SizeofDmIoctl:], r.payload)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.file.Fd(), uintptr(op), uintptr(unsafe.Pointer(head)))
		switch {
		case errno == unix.ENXIO:
			return nil, nil, errNoDevice
		case errno != 0:
			return nil, nil, errno
		case head.Flags&unix.DM_BUFFER_FULL_FLAG == 0:
			start := min(int(head.Data_start), len(buffer))
			return head, buffer[start:min(max(int(head.Data_size), start), len(buffer))], nil
		}
	}
	return nil, nil, errors.New("the device-mapper's answer is too long")
}

func (c *control) create(name, uuid string) error {
	_, _, err := c.call(unix.DM_DEV_CREATE, request{name: name, uuid: uuid})
	if errors.Is(err, syscall.EBUSY) {
		return model.Errorf(model.ErrExists, "a mapped device %s is there that is not banger's; look at: dmsetup info %s", name, name)
	}
	return wrap("cannot make a mapped device", err)
}

// load gives the device its table, which takes effect when it is resumed.
func (c *control) load(uuid string, sectors uint64, line string) error {
	spec := unix.DmTargetSpec{Length: sectors}
	copy(spec.Target_type[:len(spec.Target_type)-1], targetSnapshot)
	payload, err := binary.Append(nil, binary.NativeEndian, spec)
	if err != nil {
		return err
	}
	payload = append(payload, line...)
	payload = append(payload, make([]byte, 8-len(line)%8)...) // ended, and aligned
	_, _, err = c.call(unix.DM_TABLE_LOAD, request{uuid: uuid, targets: 1, payload: payload})
	return wrap("cannot load the snapshot's table", err)
}

// handsOff tells udev's rules, in the place of a cookie for which somebody waits, to make no links to the device and not to
// look for what is on it (DM_UDEV_DISABLE_{DM,SUBSYSTEM,DISK,OTHER}_RULES_FLAG of libdevmapper.h). UdevRules say the same.
const handsOff = 0xf << 16

func (c *control) resume(uuid string) error {
	_, _, err := c.call(unix.DM_DEV_SUSPEND, request{uuid: uuid, event: handsOff})
	return wrap("cannot start the mapped device", err)
}

// remove removes the device, at its last close if it is open.
func (c *control) remove(uuid string) error {
	_, _, err := c.call(unix.DM_DEV_REMOVE, request{uuid: uuid, flags: unix.DM_DEFERRED_REMOVE})
	if errors.Is(err, errNoDevice) {
		return nil
	}
	return wrap("cannot remove the mapped device", err)
}

// status tells of a device; table asks for its line instead of its state.
func (c *control) status(uuid string, table bool) (mapped, error) {
	r := request{uuid: uuid, flags: unix.DM_NOFLUSH_FLAG}
	if table {
		r.flags |= unix.DM_STATUS_TABLE_FLAG
	}
	head, data, err := c.call(unix.DM_TABLE_STATUS, r)
	if err != nil {
		return mapped{}, wrap("cannot ask for a mapped device", err)
	}
	m := describe(head)
	if head.Target_count == 1 && len(data) > unix.SizeofDmTargetSpec {
		m.params = unix.ByteSliceToString(data[unix.SizeofDmTargetSpec:])
	}
	return m, nil
}

func describe(head *unix.DmIoctl) mapped {
	return mapped{
		name: unix.ByteSliceToString(head.Name[:]), uuid: unix.ByteSliceToString(head.Uuid[:]), dev: head.Dev,
		active:   head.Flags&unix.DM_ACTIVE_PRESENT_FLAG != 0 && head.Flags&unix.DM_SUSPEND_FLAG == 0,
		removing: head.Flags&unix.DM_DEFERRED_REMOVE != 0, open: head.Open_count > 0,
	}
}

// devices lists all mapped devices of the host.
func (c *control) devices() ([]mapped, error) {
	_, data, err := c.call(unix.DM_LIST_DEVICES, request{})
	if err != nil {
		return nil, wrap("cannot list mapped devices", err)
	}
	var found []mapped
	for _, name := range namesIn(data) {
		head, _, err := c.call(unix.DM_DEV_STATUS, request{name: name})
		if errors.Is(err, errNoDevice) {
			continue // it has just ended
		}
		if err != nil {
			return nil, wrap("cannot ask for a mapped device", err)
		}
		found = append(found, describe(head))
	}
	return found, nil
}

// namesIn reads the list that the kernel gives: each entry says how far the next one is, the last one 0, and has its
// device's number, which is 0 when there is none at all.
func namesIn(data []byte) []string {
	const nextAt, nameAt = 8, 12
	var names []string
	for len(data) > nameAt && binary.NativeEndian.Uint64(data) != 0 {
		name, _, _ := bytes.Cut(data[nameAt:], []byte{0})
		names = append(names, string(name))
		next := int(binary.NativeEndian.Uint32(data[nextAt:]))
		if next < nameAt || next > len(data) {
			break
		}
		data = data[next:]
	}
	return names
}

// hasTarget loads the kernel's module for snapshots when it is not there yet.
func (c *control) hasTarget() error {
	_, _, err := c.call(unix.DM_GET_TARGET_VERSION, request{name: targetSnapshot})
	return err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
