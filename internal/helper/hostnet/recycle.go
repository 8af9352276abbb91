package hostnet

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// forgotten is the alias of a tap that was taken from its VM, once nothing of that VM is known any more at its address.
const forgotten = "banger"

// setAside gives a tap that is down and without rules the name of one that is left. While there is one of the same slot,
// which is so for a moment after its VM's end, it is removed instead.
func (h *Host) setAside(links *netlink.Handle, tap netlink.Link, part netip.Prefix, slot int) error {
	if isWire(tap) {
		return h.removeWire(links, tap, slot)
	}
	err := links.LinkSetName(tap, h.left(slot))
	if !errors.Is(err, unix.EEXIST) {
		return ignoreNoLink(err)
	}
	if part.IsValid() {
		err = forgetConnections(addressIn(part, slot))
	} else {
		err = nil
	}
	return errors.Join(err, unplug(links, tap))
}

// inherit readies a slot whose last tap is still there for its next VM: nothing of the last one's connections, unless it
// is the same, leads to it.
func (h *Host) inherit(links *netlink.Handle, s seen, id model.VMID, slot int, part netip.Prefix) error {
	tap := s.left[slot]
	if tap == nil {
		return nil
	}
	owner := ownerOfAlias(tap.Attrs().Alias)
	if owner == "" {
		return nil
	}
	if owner != id {
		if err := forgetConnections(addressIn(part, slot)); err != nil {
			return err
		}
	}
	return ignoreNoLink(links.LinkSetAlias(tap, forgotten))
}

// Recycle removes the taps that were taken from their VMs. It takes the kernel longer than all else, so everything may be
// done meanwhile, and whatever it has not done the next one does.
func (h *Host) Recycle(ctx context.Context) error {
	fail := func(err error) error { return model.HostErrorf(err, "cannot remove taps without VMs") }
	if err := h.checkInstance(); err != nil {
		return fail(err)
	}
	links, err := handle(ctx)
	if err != nil {
		return fail(err)
	}
	defer links.Close()
	s, err := h.devices(links)
	if err == nil && len(s.left) > 0 {
		crash.At("hostnet.recycle.before")
		s.spares = nil // they are for the next VMs
		err = h.discard(links, s)
		crash.At("hostnet.recycle.after")
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// discard removes the taps that are left, and those that are spare.
func (h *Host) discard(links *netlink.Handle, s seen) error {
	d, err := h.newDiscard(links, s)
	if err != nil {
		return err
	}
	return d.do()
}

// atOnce is how many taps are removed at a time. The kernel waits for all of them together.
const atOnce = 8

// discard removes taps, when nothing of the VMs that they were taken from is known any more. Its sockets are of the
// network namespace of whoever made it, whichever thread it works on.
type discard struct {
	taps     []netlink.Link
	lost     lost
	tracked  *netlink.Handle // of connections
	look     *netlink.Handle
	removers []*netlink.Handle
}

func (h *Host) newDiscard(links *netlink.Handle, s seen) (_ *discard, err error) {
	d := &discard{taps: slices.AppendSeq(slices.Collect(maps.Values(s.left)), maps.Values(s.spares))}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.look, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	if d.tracked, err = netlink.NewHandle(unix.NETLINK_NETFILTER); err != nil {
		return nil, err
	}
	for range min(len(d.taps), atOnce) {
		r, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return nil, err
		}
		d.removers = append(d.removers, r)
	}
	_, part, err := h.bridgeRange(links)
	if err != nil || !part.IsValid() {
		return d, err
	}
	d.lost = lost{}
	for slot, tap := range s.left {
		if alias := tap.Attrs().Alias; ownerOfAlias(alias) != "" {
			// A slot that got its next VM meanwhile, which inherit has seen to, is passed over: its connections are of that.
			d.lost[addressIn(part, slot)] = func() bool {
				now, err := d.look.LinkByIndex(tap.Attrs().Index)
				return err == nil && now.Attrs().Alias == alias
			}
		}
	}
	return d, nil
}

func (d *discard) close() {
	if d.look != nil {
		d.look.Close()
	}
	if d.tracked != nil {
		closeLater(d.tracked.Close)
	}
	for _, r := range d.removers {
		r.Close()
	}
}

func (d *discard) do() error {
	defer d.close()
	var err error
	if len(d.lost) > 0 {
		err = d.lost.forget(d.tracked)
	}
	crash.At("hostnet.recycle.forgotten")
	todo := make(chan netlink.Link, len(d.taps))
	for _, tap := range d.taps {
		todo <- tap
	}
	close(todo)
	errs := make(chan error, len(d.removers))
	for _, r := range d.removers {
		go func() {
			var err error
			for tap := range todo {
				err = errors.Join(err, ignoreNoLink(r.LinkDel(tap)))
			}
			errs <- err
		}()
	}
	for range d.removers {
		err = errors.Join(err, <-errs)
	}
	return err
}
