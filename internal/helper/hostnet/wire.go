package hostnet

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"

	"banger/internal/crash"
	"banger/internal/model"
)

// A wire is a pair of devices, a veth(4): what goes in at one end comes out at the other. One end is the VM's port, and the
// other is free, and down, until the VM's jail takes it into a network namespace of its own. With that namespace the pair
// goes, in which nobody has a say: wherever a port is taken away it may be gone already.

// freePrefix begins the name of a wire's free end, in place of tapPrefix.
const freePrefix = "bw"

// freeEnd is the name of the free end of a slot's wire.
func (h *Host) freeEnd(slot int) string {
	return freePrefix + strings.TrimPrefix(h.tap(slot), tapPrefix)
}

func isWire(l netlink.Link) bool { return l.Type() == "veth" }

// taken says whether a wire's other end is in another namespace.
func taken(l netlink.Link) bool { return isWire(l) && l.Attrs().NetNsID != -1 }

// makeWire makes one whose ends are down, and nobody's.
func (h *Host) makeWire(links *netlink.Handle, slot, mtu int) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = h.tap(slot), mtu // which is both ends'
	if err := links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: h.freeEnd(slot)}); err != nil {
		return nil, err
	}
	crash.At("hostnet.wire.made")
	if err := quiet(h.freeEnd(slot)); err != nil {
		return nil, err
	}
	wire, err := findPort(links, attrs.Name)
	if err == nil && wire == nil {
		err = model.Errorf(model.ErrUnavailable, "%s went away as it was made", attrs.Name)
	}
	return wire, err
}

// FreeEnd finds the free end of the wire that is the VM's port: one that this installation's bridge has, by its name, that
// says of itself that it is that VM's, and whose other end nobody has taken.
func (h *Host) FreeEnd(links *netlink.Handle, id model.VMID, slot int) (netlink.Link, error) {
	if err := h.check(id); err != nil {
		return nil, err
	}
	if slot < 1 || slot > MaxSlot {
		return nil, model.Errorf(model.ErrUnsupported, "its number is %d, and a bridge has addresses for %d", slot, MaxSlot)
	}
	name := h.tap(slot)
	br, err := h.findBridge(links)
	if err != nil {
		return nil, err
	}
	port, err := links.LinkByName(name)
	switch {
	case isNoLink(err) || br == nil:
		return nil, model.Errorf(model.ErrNotFound, "it has no port on a bridge, %s", name)
	case err != nil:
		return nil, err
	case !isWire(port) || port.Attrs().MasterIndex != br.Attrs().Index || ownerOfAlias(port.Attrs().Alias) != id:
		return nil, model.Errorf(model.ErrDenied, "%s is not the end of a wire of its", name)
	case taken(port):
		return nil, model.Errorf(model.ErrState, "the other end of %s is taken", name)
	}
	free, err := links.LinkByIndex(port.Attrs().ParentIndex)
	switch {
	case isNoLink(err):
		return nil, model.Errorf(model.ErrState, "the other end of %s is gone", name)
	case err != nil:
		return nil, err
	case !isWire(free) || free.Attrs().ParentIndex != port.Attrs().Index || free.Attrs().Name != h.freeEnd(slot):
		return nil, model.Errorf(model.ErrDenied, "%s is not the other end of %s", free.Attrs().Name, name)
	}
	return free, nil
}

// removeWire takes away a wire that is down and without rules. One that a jail has takes the kernel longer, and is left to
// Recycle; any other has a free end, whose name the slot's next wire gets.
func (h *Host) removeWire(links *netlink.Handle, wire netlink.Link, slot int) error {
	if !taken(wire) {
		return unplug(links, wire)
	}
	if err := links.LinkSetName(wire, h.left(slot)); err != nil {
		return unplug(links, wire)
	}
	return ignoreNoLink(links.LinkSetAlias(wire, forgotten))
}

// unruleWire takes away what there is for a port that Recycle does not find what to forget of: a wire, which may go by
// itself at any time, or one whose device is gone. What is known at its address is forgotten while there are rules, by which
// whoever comes after a crash finds it; and when there are none, by which others could send to it meanwhile.
func (h *Host) unruleWire(k *kernel, br netlink.Link, part netip.Prefix, p Port) error {
	forget := func() error {
		if p.Slot == 0 {
			return nil
		}
		return forgetConnections(addressIn(part, p.Slot))
	}
	err := forget()
	crash.At("hostnet.detach.forgotten")
	return errors.Join(err, h.unrule(k, br, part, p), forget())
}
