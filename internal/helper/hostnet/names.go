package hostnet

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"banger/internal/model"
	"banger/internal/version"
)

// The beginnings of the devices' names. A device's name has at most 15 bytes: those of root's installations have the
// installation's id after it; those of an ordinary user's have the user's uid, whole, and what then fits of the
// installation, so that no two users have a name in common, whatever id one of them may think of.
const (
	bridgePrefix = "bb"
	tapPrefix    = "bt"
	ofRoot       = "-"
	ofUser       = "_"

	uidLength  = 7 // of 32 bits
	partLength = 3 // of an installation's id, after the uid
	slotLength = 2 // of 10 bits, after that
)

// letters write numbers in the 32 letters of ids.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// rangeBits is the size of an installation's part of the VMs' range.
const rangeBits = 22

// MaxSlot is the last one that has an address: the first of the range is nobody's, the next the gateway's, the last
// everybody's.
const MaxSlot = 1<<(32-rangeBits) - 3

// spares is how many taps are kept ready for the next VMs. They have the numbers after MaxSlot, for which there still are
// names.
const spares = 2

func (h *Host) bridge() string { return bridgePrefix + h.mark() }

// mark is what tells the installation's devices from all others'.
func (h *Host) mark() string {
	if h.o.UID == 0 {
		return ofRoot + string(h.o.Instance)
	}
	sum := sha256.Sum256([]byte("banger links " + h.o.Instance))
	return ofUser + letters.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(h.o.UID))) + letters.EncodeToString(sum[:])[:partLength]
}

// userOf is the uid in the name of a device of an ordinary user's, of which it has more letters than its mark.
func userOf(name, prefix string, more int) (uid int, ok bool) {
	rest, ours := strings.CutPrefix(name, prefix+ofUser)
	if !ours || len(rest) != uidLength+partLength+more || strings.Trim(rest[uidLength:], "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return 0, false
	}
	data, err := letters.DecodeString(rest[:uidLength])
	if err != nil || len(data) != 4 || letters.EncodeToString(data) != rest[:uidLength] {
		return 0, false
	}
	uid = int(binary.BigEndian.Uint32(data))
	return uid, uid != 0
}

// isBridge says whether a bridge of that name is some installation's.
func isBridge(name string) bool {
	instance, root := strings.CutPrefix(name, bridgePrefix+ofRoot)
	_, user := userOf(name, bridgePrefix, 0)
	return user || root && model.InstanceID(instance).Valid()
}

// tap is the VM's device, as ip-link(8) shows it. Which VM has the slot its alias tells; those after MaxSlot are nobody's
// yet.
func (h *Host) tap(slot int) string {
	if h.o.UID == 0 {
		return h.taps() + strconv.Itoa(slot)
	}
	return h.taps() + letters.EncodeToString(binary.BigEndian.AppendUint16(nil, uint16(slot<<6)))[:slotLength]
}

// taps is what the names of all the installation's taps begin with, and no other's.
func (h *Host) taps() string { return tapPrefix + h.mark() }

// leftPrefix begins the name of a tap that is no VM's any more, in place of tapPrefix.
const leftPrefix = "bx"

// left is the name of a slot's tap that was taken from its VM.
func (h *Host) left(slot int) string { return leftPrefix + strings.TrimPrefix(h.tap(slot), tapPrefix) }

// leftOf is the slot of a tap with such a name.
func (h *Host) leftOf(name string) (int, bool) {
	rest, left := strings.CutPrefix(name, leftPrefix)
	slot, ours := h.slotOf(tapPrefix + rest)
	return slot, left && ours
}

// slotOf is the slot whose tap has the name, if it is one of this installation's.
func (h *Host) slotOf(name string) (int, bool) {
	digits, ours := strings.CutPrefix(name, h.taps())
	if !ours {
		return 0, false
	}
	slot, err := strconv.Atoi(digits)
	if h.o.UID != 0 {
		var data []byte
		if data, err = letters.DecodeString(digits + "aa"); err == nil && len(data) == 2 {
			slot = int(binary.BigEndian.Uint16(data)) >> 6
		}
	}
	return slot, err == nil && slot > 0 && slot <= MaxSlot+spares && h.tap(slot) == name
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
func (h *Host) table() string {
	if h.o.UID == 0 {
		return "banger-" + string(h.o.Instance)
	}
	return "banger-" + strconv.Itoa(h.o.UID) + "-" + string(h.o.Instance)
}

// userOfTable is the installation whose table has the name, if it is an ordinary user's.
func userOfTable(name string) (Options, bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 3 {
		return Options{}, false
	}
	uid, err := strconv.ParseUint(parts[1], 10, 32)
	o := Options{Instance: model.InstanceID(parts[2]), UID: int(uid)}
	return o, err == nil && uid != 0 && o.Instance.Valid() && New(o).table() == name
}

// The chains of a VM, each with the VM's id and slot after a hyphen.
const (
	chainVM  = "vm"    // in the table of frames: what it may send at all; in that of packets: its policy
	chainOwn = "peers" // its groups
	chainTo  = "doors" // what its redirects lead to

	// Of each domain in its policy, with a word for that after it:
	chainNames = "names" // what it stands for, in a set of that name
	chainOpen  = "open"  // a set of the connections that it allowed

	chainDenied = "denied" // remembers what it was refused, in a set of that name
)

func chainOf(kind string, id model.VMID, slot int) string {
	return kind + "-" + string(id) + "-" + strconv.Itoa(slot)
}

// notePrefix begins the name of a chain without rules, which notes how what all VMs share was made.
const notePrefix = "made-"

// note is the one of what this program makes: another version may make something else.
func (h *Host) note(part netip.Prefix) string {
	sum := sha256.Sum256([]byte("banger rules " + version.Version + " " + part.String()))
	return notePrefix + letters.EncodeToString(sum[:])[:noteLength]
}

const noteLength = 12

func isNote(chain string) bool { return strings.HasPrefix(chain, notePrefix) }

// groupPrefix begins the name of the set of a group's addresses.
const groupPrefix = "group-"

// ownerOfChain is the VM, with its slot, whose chain or set has the name.
func ownerOfChain(name string) (id model.VMID, slot int, ok bool) {
	_, id, slot, ok = ownerOfName(name)
	return id, slot, ok
}

func ownerOfName(name string) (kind string, id model.VMID, slot int, ok bool) {
	parts := strings.Split(name, "-")
	if len(parts) < 3 {
		return "", "", 0, false
	}
	kind, id = parts[0], model.VMID(parts[1])
	slot, err := strconv.Atoi(parts[2])
	own := chainOf(kind, id, slot)
	if !id.Valid() || err != nil || !strings.HasPrefix(name, own) {
		return "", "", 0, false
	}
	switch rest := strings.TrimPrefix(name, own); kind {
	case chainVM, chainOwn, chainTo, chainDenied:
		ok = rest == ""
	case chainNames, chainOpen:
		ok = len(rest) == 1+entryLength
	}
	return kind, id, slot, ok
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

// SlotBeside is the slot of the VM with an address behind a gateway.
func SlotBeside(gateway, address netip.Addr) int {
	from, to := gateway.As4(), address.As4()
	return int(binary.BigEndian.Uint32(to[:])) - int(binary.BigEndian.Uint32(from[:]))
}

// AddressBeside is that of the VM with a slot behind a gateway.
func AddressBeside(gateway netip.Addr, slot int) netip.Addr {
	return addressIn(netip.PrefixFrom(gateway, rangeBits), slot)
}

func isGroup(set string) bool { return strings.HasPrefix(set, groupPrefix) }
