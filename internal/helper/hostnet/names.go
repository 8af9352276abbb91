package hostnet

import (
	"crypto/sha256"
	"net/netip"
	"strconv"
	"strings"

	"banger/internal/model"
)

// The beginnings of the devices' names, which the installation's id follows. A device's name has at most 15 bytes.
const (
	bridgePrefix = "bb-"
	tapPrefix    = "bt-"
)

// rangeBits is the size of an installation's part of the VMs' range.
const rangeBits = 22

// MaxSlot is the last one that has an address: the first of the range is nobody's, the next the gateway's, the last
// everybody's.
const MaxSlot = 1<<(32-rangeBits) - 3

func (h *Host) bridge() string { return bridgePrefix + string(h.o.Instance) }

// tap is the VM's device, as ip-link(8) shows it. Which VM has the slot its alias tells.
func (h *Host) tap(slot int) string { return h.taps() + strconv.Itoa(slot) }

// taps is what the names of all the installation's taps begin with, and no other's.
func (h *Host) taps() string { return tapPrefix + string(h.o.Instance) }

// slotOf is the slot whose tap has the name, if it is one of this installation's.
func (h *Host) slotOf(name string) (int, bool) {
	digits, ours := strings.CutPrefix(name, h.taps())
	slot, err := strconv.Atoi(digits)
	return slot, ours && err == nil && slot > 0 && slot <= MaxSlot && h.tap(slot) == name
}

// alias is what the VM's tap says of itself.
func (h *Host) alias(id model.VMID) string { return "banger VM " + string(id) }

func ownerOfAlias(alias string) model.VMID {
	if id := model.VMID(strings.TrimPrefix(alias, "banger VM ")); id.Valid() {
		return id
	}
	return ""
}

// table is that of either family.
func (h *Host) table() string { return "banger-" + string(h.o.Instance) }

// The chains of a VM, each with the VM's id and slot after a hyphen.
const (
	chainVM  = "vm"    // in the table of frames: what it may send at all; in that of packets: its policy
	chainOwn = "peers" // its groups
)

func chainOf(kind string, id model.VMID, slot int) string {
	return kind + "-" + string(id) + "-" + strconv.Itoa(slot)
}

// groupPrefix begins the name of the set of a group's addresses.
const groupPrefix = "group-"

// ownerOfChain is the VM, with its slot, whose chain has the name.
func ownerOfChain(name string) (id model.VMID, slot int, ok bool) {
	kind, rest, _ := strings.Cut(name, "-")
	text, digits, _ := strings.Cut(rest, "-")
	slot, err := strconv.Atoi(digits)
	id = model.VMID(text)
	return id, slot, id.Valid() && err == nil && (kind == chainVM || kind == chainOwn) && chainOf(kind, id, slot) == name
}

// preferred is which part of the VMs' range the installation takes when it is free.
func (h *Host) preferred() int {
	sum := sha256.Sum256([]byte("banger range " + h.o.Instance))
	return int(sum[0]) % rangesOfHost
}

// rangesOfHost is how many parts there are.
const rangesOfHost = 1 << (rangeBits - 15)

// rangeAt is one part of the VMs' range.
func rangeAt(n int) netip.Prefix {
	base := model.GuestRange().Addr().As4()
	offset := n << (32 - rangeBits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1] + byte(offset>>16), byte(offset >> 8), 0}), rangeBits)
}

// addressIn is that of a slot; the gateway has the one of slot 0.
func addressIn(part netip.Prefix, slot int) netip.Addr {
	base := part.Masked().Addr().As4()
	host := slot + 1
	return netip.AddrFrom4([4]byte{base[0], base[1], base[2] + byte(host>>8), byte(host)})
}

func isGroup(set string) bool { return strings.HasPrefix(set, groupPrefix) }
