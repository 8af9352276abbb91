package hostnet

import (
	"context"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"banger/internal/model"
)

// seen is all that there is of an installation, with the kernel's links for it.
type seen struct {
	Found
	tables tables
	taps   map[int]netlink.Link // or wires, by slot
	spares map[int]netlink.Link // by number
	left   map[int]netlink.Link // by the slot that they had; taps that go by themselves are not among them
}

// List tells what there is of this installation's, whole or not.
func (h *Host) List(ctx context.Context) (Found, error) {
	fail := func(err error) (Found, error) { return Found{}, model.HostErrorf(err, "cannot look at the bridge") }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if !h.o.Instance.Valid() {
		return Found{}, nil // an installation without an id has made nothing
	}
	k, err := h.kernel()
	if err != nil {
		return fail(err)
	}
	defer k.closeNow()
	s, err := h.look(k)
	if err != nil {
		return fail(err)
	}
	return s.Found, nil
}

// Visible is what anybody can see of this installation's: its devices, and not its rules.
func (h *Host) Visible(ctx context.Context) (Found, error) {
	if err := ctx.Err(); err != nil || !h.o.Instance.Valid() {
		return Found{}, err
	}
	links, err := handle(ctx)
	if err != nil {
		return Found{}, err
	}
	defer links.Close()
	s, err := h.devices(links)
	return s.Found, err
}

// devices are the bridge, the taps and the wires.
func (h *Host) devices(links *netlink.Handle) (seen, error) {
	s := seen{taps: map[int]netlink.Link{}, spares: map[int]netlink.Link{}, left: map[int]netlink.Link{}}
	br, part, err := h.bridgeRange(links)
	if err != nil {
		return s, err // what is there is not this installation's
	}
	if br != nil && part.IsValid() {
		s.Gateway = addressIn(part, 0)
	}
	all, err := whole(links.LinkList)
	if err != nil {
		return s, err
	}
	for _, l := range all {
		if l.Attrs().Name == h.bridge() && l.Type() == "bridge" {
			s.Bridge = l.Attrs().Name
		}
		if isPort(l) {
			h.see(&s, l)
		}
	}
	return s, nil
}

// see adds a tap, or the end of a wire that is a port, if it is this installation's.
func (h *Host) see(s *seen, tap netlink.Link) {
	name := tap.Attrs().Name
	if slot, left := h.leftOf(name); left && stays(tap) {
		s.left[slot] = tap
		s.Left = append(s.Left, name)
		return
	}
	slot, ours := h.slotOf(name)
	switch {
	case !ours:
	case slot > MaxSlot:
		s.spares[slot] = tap
		s.Spare = append(s.Spare, name)
	default:
		s.taps[slot] = tap
		s.Ports = append(s.Ports, Port{
			ID: ownerOfAlias(tap.Attrs().Alias), Slot: slot, Tap: name,
			MAC: model.HardwareAddress(h.o.Instance, slot), MTU: tap.Attrs().MTU,
		})
	}
}

// stays says whether a device has to be removed, and does not go with its VMM. What a wire does nobody knows.
func stays(l netlink.Link) bool {
	tap, is := l.(*netlink.Tuntap)
	return !is || !tap.NonPersist
}

// look also reads the tables.
func (h *Host) look(k *kernel) (seen, error) {
	s, err := h.devices(k.links)
	if err != nil {
		return s, err
	}
	if s.tables, err = k.rules.look(); err != nil {
		return s, err
	}
	s.Tables = s.tables.names
	for _, c := range s.tables.chains {
		// One whose alias is not written yet is known by the rules that were made before it.
		at := slices.IndexFunc(s.Ports, func(p Port) bool { return p.Slot == c.slot && (p.ID == c.id || p.ID == "") })
		if at < 0 {
			at = len(s.Ports)
			s.Ports = append(s.Ports, Port{ID: c.id, Slot: c.slot})
		}
		s.Ports[at].ID, s.Ports[at].Ruled = c.id, true
	}
	slices.SortFunc(s.Ports, func(a, b Port) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return s, nil
}
