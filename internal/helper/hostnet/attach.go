package hostnet

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// Attach gives the VM its port, or changes the rules of one that it has, in one transaction: at no moment is there a port
// without rules, or with weaker ones than before and after. What fails leaves the rules that were, and no port that was
// not.
func (h *Host) Attach(ctx context.Context, id model.VMID, slot int, want Rules) (p Port, err error) {
	bad := errors.Join(h.check(id), checkRules(slot, want))
	err = h.alone(ctx, "cannot attach "+string(id)+" to the bridge", bad, func(k *kernel) error {
		had, err := h.has(k.links, id, slot)
		if err != nil {
			return err
		}
		crash.At("hostnet.attach.before")
		if p, err = h.attach(k, id, slot, want); err != nil {
			if !had {
				err = errors.Join(err, h.detach(k, id))
			}
			return err
		}
		crash.At("hostnet.attach.after")
		return nil
	})
	return p, err
}

// has says whether the slot is this VM's already.
func (h *Host) has(links *netlink.Handle, id model.VMID, slot int) (bool, error) {
	tap, err := findPort(links, h.tap(slot))
	return tap != nil && ownerOfAlias(tap.Attrs().Alias) == id && tap.Attrs().Flags&unix.IFF_UP != 0, err
}

func (h *Host) attach(k *kernel, id model.VMID, slot int, want Rules) (Port, error) {
	s, err := h.look(k)
	if err != nil {
		return Port{}, err
	}
	evicted, err := h.evict(k, s, id, slot)
	if err == nil && evicted {
		s, err = h.look(k)
	}
	if err != nil {
		return Port{}, err
	}
	if s.Bridge == "" && len(s.tables.family) > 0 { // of a bridge that is gone, and perhaps of other addresses
		k.rules.removeAll(s.tables)
		if err := k.rules.commit(); err != nil {
			return Port{}, err
		}
		s.tables = tables{}
	}
	br, part, err := h.ensureBridge(k.links)
	if err != nil {
		return Port{}, err
	}
	if err := h.inherit(k.links, s, id, slot, part); err != nil {
		return Port{}, err
	}
	if err := h.rule(k.rules, s.tables, id, slot, part, want); err != nil {
		return Port{}, err
	}
	crash.At("hostnet.attach.rules")
	tap, err := h.ensurePort(k.links, s, slot, want.Wire, br.Attrs().MTU)
	if err != nil {
		return Port{}, err
	}
	crash.At("hostnet.attach.tap")
	if err := settle(k.links, tap, br); err != nil {
		return Port{}, err
	}
	if err := h.assign(k.links, tap, br, id, slot, addressIn(part, slot)); err != nil {
		return Port{}, err
	}
	crash.At("hostnet.attach.plugged")
	if err := k.links.LinkSetUp(tap); err != nil {
		return Port{}, err
	}
	return h.port(id, slot, part, br.Attrs().MTU), nil
}

// ensurePort has a device for a slot: its own, a spare one, or a new one. One that a VMM has stays what it is.
func (h *Host) ensurePort(links *netlink.Handle, s seen, slot int, wire bool, mtu int) (netlink.Link, error) {
	if there := s.taps[slot]; there != nil {
		if isWire(there) == wire || taken(there) || inUse(there) {
			return there, nil
		}
		if err := unplug(links, there); err != nil {
			return nil, err
		}
	}
	if wire {
		return h.makeWire(links, slot, mtu)
	}
	for _, spare := range s.spares {
		if err := links.LinkSetName(spare, h.tap(slot)); err == nil {
			spare.Attrs().Name = h.tap(slot)
			return spare, nil
		} else if !isNoLink(err) {
			return nil, err
		}
	}
	return h.makeTap(links, h.tap(slot))
}

// makeTap makes a tap that is down, and nobody's.
func (h *Host) makeTap(links *netlink.Handle, name string) (netlink.Link, error) {
	if err := KeepTap(name, h.o.UID); err != nil {
		return nil, err
	}
	tap, err := findPort(links, name)
	if err == nil && tap == nil {
		err = model.Errorf(model.ErrUnavailable, "%s went away as it was made", name)
	}
	return tap, err
}

func (h *Host) port(id model.VMID, slot int, part netip.Prefix, mtu int) Port {
	return Port{
		ID: id, Slot: slot, Tap: h.tap(slot), Ruled: true, MAC: model.HardwareAddress(h.o.Instance, slot),
		Address: addressIn(part, slot), Gateway: addressIn(part, 0), MTU: mtu,
	}
}

// evict takes away what somebody else has of the slot, or the VM of another: slots are one VM's each, so that is left over.
func (h *Host) evict(k *kernel, s seen, id model.VMID, slot int) (evicted bool, err error) {
	for _, p := range s.Ports {
		if (p.Slot == slot) == (p.ID == id) {
			continue // its own, or another's elsewhere
		}
		evicted = true
		if err := h.remove(k, p); err != nil {
			return evicted, err
		}
	}
	return evicted, nil
}

// rule puts the rules of a VM in force, and those that all share. Of a VM that has none yet nothing is changed that there
// is of others: what the kernel only adds takes it no time.
func (h *Host) rule(r *rules, t tables, id model.VMID, slot int, part netip.Prefix, want Rules) error {
	if t.shared(h.note(part)) && len(t.slots(id)) == 0 {
		r.newMaps()
	} else {
		r.shared(t, part)
	}
	r.narrow(t, slot, part, want)
	r.names(t, id, slot, want)
	r.vm(id, slot, part, want)
	r.forgetNames(t, id, slot, want)
	if err := r.commit(); err != nil {
		return err
	}
	return r.dropEmptyGroups(t)
}

// Open opens the VM's tap for a VMM, which is to have it alone.
func (h *Host) Open(ctx context.Context, id model.VMID) (tap *os.File, err error) {
	err = h.withLinks(ctx, "cannot open the tap of "+string(id), h.check(id), func(links *netlink.Handle) error {
		s, err := h.devices(links)
		if err != nil {
			return err
		}
		for _, p := range s.Ports {
			if p.ID == id && p.Tap != "" {
				if isWire(s.taps[p.Slot]) {
					return model.Errorf(model.ErrState, "%s is one end of a wire, and its VMM in a jail", p.Tap)
				}
				if tap, err = openTap(p.Tap); errors.Is(err, unix.EBUSY) {
					err = model.Errorf(model.ErrState, "another process has %s open", p.Tap)
				}
				return err
			}
		}
		return model.Errorf(model.ErrNotFound, "it has none")
	})
	return tap, err
}
