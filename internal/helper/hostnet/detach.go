package hostnet

import (
	"context"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// Detach takes the VM's port away: its tap, and then its rules. The tap is down then, and left to Recycle, which takes the
// kernel longer. With the last port go, before it returns, the bridge, the tables, all taps and what was changed of the
// host's settings. That there is nothing is success.
func (h *Host) Detach(ctx context.Context, id model.VMID) error {
	return h.alone(ctx, "cannot detach "+string(id)+" from the bridge", h.check(id), func(k *kernel) error {
		return h.detach(k, id)
	})
}

// Sweep takes away whatever bears the installation's mark and is of no VM in keep.
func (h *Host) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	return h.alone(ctx, "cannot sweep the bridge", h.checkInstance(), func(k *kernel) error {
		return h.sweep(k, func(p Port) bool { return keep[p.ID] && p.ID != "" })
	})
}

func (h *Host) detach(k *kernel, id model.VMID) error {
	return h.sweep(k, func(p Port) bool { return p.ID != id })
}

// sweep removes all ports but those that are to stay, and the rest when none does. Every step runs whatever others do.
func (h *Host) sweep(k *kernel, stays func(Port) bool) error {
	s, err := h.look(k)
	if err != nil {
		return err
	}
	crash.At("hostnet.detach.before")
	var errs []error
	left := 0
	for _, p := range s.Ports {
		if stays(p) {
			left++
			continue
		}
		errs = append(errs, h.remove(k, p))
	}
	if left == 0 {
		errs = append(errs, h.close(k))
	}
	crash.At("hostnet.detach.after")
	return errors.Join(errs...)
}

// remove takes one port away, and leaves its tap under another name.
func (h *Host) remove(k *kernel, p Port) error {
	var tap netlink.Link
	var err error
	if p.Tap != "" {
		if tap, err = findPort(k.links, p.Tap); err == nil && tap != nil {
			err = ignoreNoLink(k.links.LinkSetDown(tap))
		}
		if err != nil {
			return err // its rules stay as long as it does
		}
	}
	crash.At("hostnet.detach.down")
	br, part, err := h.bridgeRange(k.links)
	if part.IsValid() { // without it nothing of the tables is kept
		if tap == nil || isWire(tap) {
			err = h.unruleWire(k, br, part, p)
		} else {
			err = h.unrule(k, br, part, p)
		}
	}
	crash.At("hostnet.detach.rules")
	if tap != nil {
		err = errors.Join(err, h.setAside(k.links, tap, part, p.Slot))
	}
	crash.At("hostnet.detach.aside")
	return err
}

// bridgeRange returns the bridge, nil when there is none, with its part of the VMs' range, which it may not have yet.
func (h *Host) bridgeRange(links *netlink.Handle) (netlink.Link, netip.Prefix, error) {
	br, err := h.findBridge(links)
	if err != nil || br == nil {
		return nil, netip.Prefix{}, err
	}
	part, err := rangeOf(links, br)
	return br, part, err
}

// unrule takes away what there is for a port whose tap is down.
func (h *Host) unrule(k *kernel, br netlink.Link, part netip.Prefix, p Port) error {
	var errs []error
	if p.Slot > 0 {
		err := k.links.NeighDel(neighbour(br, addressIn(part, p.Slot), model.HardwareAddress(h.o.Instance, p.Slot)))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	t, err := k.rules.look()
	if err == nil && p.ID != "" {
		for _, slot := range t.slots(p.ID) {
			k.rules.forget(t, p.ID, slot, part)
		}
		err = k.rules.commit()
	}
	if err == nil {
		err = k.rules.dropEmptyGroups(t)
	}
	return errors.Join(append(errs, err)...)
}

// dropEmptyGroups removes the sets of groups that nobody is in any more. t is how the tables were before.
func (r *rules) dropEmptyGroups(t tables) error {
	if !t.grouped() {
		return nil
	}
	t, err := r.look()
	if err != nil {
		return err
	}
	for _, s := range t.sets {
		if isGroup(s.Name) && len(s.elements) == 0 {
			r.DelSet(s.Set)
		}
	}
	return r.commit()
}

// close takes away what is there for all. The kernel takes its time for each, so they are done at once.
func (h *Host) close(k *kernel) error {
	crash.At("hostnet.close.before")
	s, err := h.devices(k.links)
	if err != nil {
		return err
	}
	discard, err := h.newDiscard(k.links, s)
	if err != nil {
		return err
	}
	taps := make(chan error, 1)
	go func() { taps <- discard.do() }()
	br, err := h.findBridge(k.links)
	if err == nil && br != nil {
		err = removeBridge(k.links, br)
	}
	err = errors.Join(err, <-taps)
	crash.At("hostnet.close.bridge")
	t, rerr := k.rules.look()
	if rerr == nil {
		k.rules.removeAll(t)
		rerr = k.rules.commit()
	}
	crash.At("hostnet.close.after")
	return errors.Join(err, rerr)
}
