package hostnet

import (
	"context"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// List tells what there is of this installation's, whole or not.
func (h *Host) List(ctx context.Context) (Found, error) {
	fail := func(err error) (Found, error) { return Found{}, model.HostErrorf(err, "cannot look at the bridge") }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if !h.o.Instance.Valid() {
		return Found{}, nil // an installation without an id has made nothing
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fail(err)
	}
	defer links.Close()
	found, err := h.found(links)
	if err != nil {
		return fail(err)
	}
	return found, nil
}

// Visible is what anybody can see of this installation's: its devices, and not its rules.
func (h *Host) Visible(ctx context.Context) (Found, error) {
	if err := ctx.Err(); err != nil || !h.o.Instance.Valid() {
		return Found{}, err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Found{}, err
	}
	defer links.Close()
	return h.devices(links)
}

// devices are the bridge and the taps.
func (h *Host) devices(links *netlink.Handle) (Found, error) {
	var f Found
	if _, err := h.findBridge(links); err != nil {
		return f, err // what is there is not this installation's
	}
	all, err := whole(links.LinkList)
	if err != nil {
		return f, err
	}
	for _, l := range all {
		slot, ours := h.slotOf(l.Attrs().Name)
		switch {
		case l.Attrs().Name == h.bridge() && l.Type() == "bridge":
			f.Bridge = l.Attrs().Name
		case ours && l.Type() == "tuntap":
			f.Ports = append(f.Ports, Port{
				ID: ownerOfAlias(l.Attrs().Alias), Slot: slot, Tap: l.Attrs().Name,
				MAC: model.HardwareAddress(h.o.Instance, slot), MTU: l.Attrs().MTU,
			})
		}
	}
	return f, nil
}

func (h *Host) found(links *netlink.Handle) (Found, error) {
	f, err := h.devices(links)
	if err != nil {
		return f, err
	}
	r, err := h.newRules()
	if err != nil {
		return f, err
	}
	t, err := r.look()
	if err != nil {
		return f, err
	}
	f.Tables = t.names
	for _, c := range t.chains {
		// One whose alias is not written yet is known by the rules that were made before it.
		at := slices.IndexFunc(f.Ports, func(p Port) bool { return p.Slot == c.slot && (p.ID == c.id || p.ID == "") })
		if at < 0 {
			at = len(f.Ports)
			f.Ports = append(f.Ports, Port{ID: c.id, Slot: c.slot})
		}
		f.Ports[at].ID, f.Ports[at].Ruled = c.id, true
	}
	slices.SortFunc(f.Ports, func(a, b Port) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return f, nil
}
