package hostnet

import (
	"context"
	"errors"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// Detach takes the VM's port away: its tap, and then its rules; with the last port the bridge, the tables and what was
// changed of the host's settings. That there is nothing is success.
func (h *Host) Detach(ctx context.Context, id model.VMID) error {
	return h.alone(ctx, "cannot detach "+string(id)+" from the bridge", h.check(id), func(links *netlink.Handle) error {
		return h.detach(links, id)
	})
}

// Sweep takes away whatever bears the installation's mark and is of no VM in keep.
func (h *Host) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	var bad error
	if !h.o.Instance.Valid() {
		bad = model.Errorf(model.ErrInvalid, "cannot name the devices of installation %q", h.o.Instance)
	}
	return h.alone(ctx, "cannot sweep the bridge", bad, func(links *netlink.Handle) error {
		return h.sweep(links, func(p Port) bool { return keep[p.ID] && p.ID != "" })
	})
}

// alone does what needs the kernel's links while nothing else of the installation is changed, unless bad is in the way.
func (h *Host) alone(ctx context.Context, doing string, bad error, do func(*netlink.Handle) error) error {
	err := bad
	if err == nil {
		err = h.lock(ctx)
	}
	if err != nil {
		return model.HostErrorf(err, "%s", doing)
	}
	defer h.unlock()
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err == nil {
		defer links.Close()
		err = do(links)
	}
	if err != nil {
		return model.HostErrorf(err, "%s", doing)
	}
	return nil
}

func (h *Host) detach(links *netlink.Handle, id model.VMID) error {
	return h.sweep(links, func(p Port) bool { return p.ID != id })
}

// sweep removes all ports but those that are to stay, and the rest when none does. Every step runs whatever others do.
func (h *Host) sweep(links *netlink.Handle, stays func(Port) bool) error {
	found, err := h.found(links)
	if err != nil {
		return err
	}
	crash.At("hostnet.detach.before")
	var errs []error
	left := 0
	for _, p := range found.Ports {
		if stays(p) {
			left++
			continue
		}
		errs = append(errs, h.remove(links, p))
	}
	if left == 0 {
		errs = append(errs, h.close(links))
	}
	crash.At("hostnet.detach.after")
	return errors.Join(errs...)
}

// remove takes one port away.
func (h *Host) remove(links *netlink.Handle, p Port) error {
	var errs []error
	if p.Tap != "" {
		tap, err := h.findTap(links, p.Slot)
		if err == nil && tap != nil {
			err = unplug(links, tap)
		}
		if err != nil {
			return err // its rules stay as long as it does
		}
	}
	crash.At("hostnet.detach.tap")
	br, err := h.findBridge(links)
	if err != nil || br == nil {
		return err // without the bridge nothing of the tables is kept
	}
	part, err := rangeOf(links, br)
	if err != nil || !part.IsValid() {
		return err
	}
	address := addressIn(part, p.Slot)
	if p.Slot > 0 {
		err := links.NeighDel(neighbour(br, address, model.HardwareAddress(h.o.Instance, p.Slot)))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
		errs = append(errs, forgetConnections(address.AsSlice()))
	}
	r, err := h.newRules()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	t, err := r.look()
	if err == nil && p.ID != "" {
		for _, slot := range t.slots(p.ID) {
			r.forget(t, p.ID, slot, part)
		}
		err = r.commit()
	}
	if err == nil {
		err = h.dropEmptyGroups()
	}
	crash.At("hostnet.detach.rules")
	return errors.Join(append(errs, err)...)
}

// forgetConnections has the kernel forget the connections of an address, which another VM may get. A kernel that cannot be
// asked to forgets them by itself, later.
func forgetConnections(address net.IP) error {
	tracked, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer tracked.Close()
	for _, end := range []netlink.ConntrackFilterType{netlink.ConntrackOrigSrcIP, netlink.ConntrackOrigDstIP} {
		filter := &netlink.ConntrackFilter{}
		if err := filter.AddIP(end, address); err != nil {
			return err
		}
		if _, err := whole(func() (uint, error) {
			return tracked.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
		}); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPROTONOSUPPORT) {
			return err
		}
	}
	return nil
}

// dropEmptyGroups removes the sets of groups that nobody is in.
func (h *Host) dropEmptyGroups() error {
	r, err := h.newRules()
	if err != nil {
		return err
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

// close takes away what is there for all.
func (h *Host) close(links *netlink.Handle) error {
	crash.At("hostnet.close.before")
	br, err := h.findBridge(links)
	if err == nil && br != nil {
		err = removeBridge(links, br)
	}
	crash.At("hostnet.close.bridge")
	r, rerr := h.newRules()
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	t, rerr := r.look()
	if rerr == nil {
		r.removeAll(t)
		rerr = r.commit()
	}
	crash.At("hostnet.close.after")
	return errors.Join(err, rerr)
}
