package storage

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// The parts of a snapshot that loop devices stand for.
const (
	partBase = "base"
	partCOW  = "cow"
)

// name is that of the VM's mapped device, and all else is named after it.
func (h *Host) name(id model.VMID) string { return h.prefix() + string(id) }

func (h *Host) prefix() string { return "banger-" + h.owner() + "-" }

// owner is the installation, behind the uid of the ordinary user whose it is: anybody can learn the id of an installation,
// and it is the caller who names it, but nobody gets at the devices of another user's by it.
func (h *Host) owner() string {
	if h.o.UID == 0 {
		return string(h.o.Instance)
	}
	return strconv.Itoa(h.o.UID) + "-" + string(h.o.Instance)
}

// uuid is the mapped device's: unlike a name it cannot be changed, so a device with it is ours.
func (h *Host) uuid(id model.VMID) string { return "BANGER-" + h.owner() + "-" + string(id) }

// label is what a loop device of the VM says of itself (lo_file_name, at most 63 bytes; `losetup -O NAME,REF` shows it).
func (h *Host) label(id model.VMID, part string) string { return h.name(id) + "." + part }

// ownerOfName is the VM whose mapped device has the name, if it is one of this installation's.
func (h *Host) ownerOfName(name string) (model.VMID, bool) {
	rest, ours := strings.CutPrefix(name, h.prefix())
	id := model.VMID(rest)
	return id, ours && id.Valid()
}

// ownerOfLabel is the VM, with the part, of the loop device that has the label, if it is one of this installation's.
func (h *Host) ownerOfLabel(label string) (id model.VMID, part string, ok bool) {
	name, part, _ := strings.Cut(label, ".")
	id, ok = h.ownerOfName(name)
	return id, part, ok && (isSnapshot(part) || isDrive(part))
}

// dir is the installation's own among the devices. What a node is called in it owes nothing to udev.
func (h *Host) dir() string { return filepath.Join("/dev", "banger-"+h.owner()) }

func (h *Host) node(id model.VMID) string { return filepath.Join(h.dir(), string(id)) }

// number is a device's, as the kernel's tables have it.
func number(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }
