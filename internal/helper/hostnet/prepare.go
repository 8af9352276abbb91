package hostnet

import (
	"context"

	"github.com/vishvananda/netlink"

	"banger/internal/crash"
)

// Prepare has some taps ready for the next VMs, while there is any VM: ports of the bridge that are down, so that what the
// host's own programs do to each new device is done before a VM has it. No rules let anything through them.
func (h *Host) Prepare(ctx context.Context) error {
	return h.withLinks(ctx, "cannot prepare taps", h.checkInstance(), func(links *netlink.Handle) error {
		s, err := h.devices(links)
		if err != nil || s.Bridge == "" || len(s.Ports) == 0 {
			return err
		}
		br, err := h.findBridge(links)
		if err != nil || br == nil {
			return err
		}
		for n := MaxSlot + 1; n <= MaxSlot+spares; n++ {
			if err := h.spare(links, s, br, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// spare makes one, or makes it whole.
func (h *Host) spare(links *netlink.Handle, s seen, br netlink.Link, n int) error {
	var tap netlink.Link
	if there := s.spares[n]; there != nil {
		if there.Attrs().MasterIndex == br.Attrs().Index {
			return nil
		}
		tap = there
	}
	crash.At("hostnet.prepare.before")
	if tap == nil {
		var err error
		if tap, err = h.makeTap(links, h.tap(n)); err != nil {
			return err
		}
	}
	crash.At("hostnet.prepare.made")
	err := settle(links, tap, br)
	crash.At("hostnet.prepare.after")
	return err
}
