package hostnet

import (
	"bytes"
	"errors"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// defaultMTU is that of a host of whose way out nothing is known. The others are the least and the most of a bridge.
const (
	minMTU     = 1280
	defaultMTU = 1500
	maxMTU     = 9000
)

// ensureBridge makes the bridge where it is not there or not whole, and returns it with its part of the VMs' range.
func (h *Host) ensureBridge(links *netlink.Handle) (netlink.Link, netip.Prefix, error) {
	br, err := h.findBridge(links)
	if err != nil {
		return nil, netip.Prefix{}, err
	}
	if br == nil {
		off := false
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = h.bridge(), wayOutMTU(links), model.HardwareAddress(h.o.Instance, 0)
		// The kernel need not read who listens to what: no multicast is carried.
		if err := links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
			return nil, netip.Prefix{}, err
		}
		crash.At("hostnet.bridge.made")
		if br, err = h.findBridge(links); err != nil {
			return nil, netip.Prefix{}, err
		}
		if br == nil {
			return nil, netip.Prefix{}, model.Errorf(model.ErrUnavailable, "the bridge %s went away as it was made", h.bridge())
		}
	}
	if err := quiet(h.bridge()); err != nil {
		return nil, netip.Prefix{}, err
	}
	lock, err := lockForwarding() // and the ranges: others look for a free one, too
	if err != nil {
		return nil, netip.Prefix{}, err
	}
	defer lock.Close()
	if err := h.forward(links, br); err != nil {
		return nil, netip.Prefix{}, err
	}
	part, err := h.ensureRange(links, br)
	if err == nil {
		err = links.LinkSetUp(br)
	}
	crash.At("hostnet.bridge.up")
	return br, part, err
}

// findBridge returns the bridge, nil when there is none. Names of an ordinary user's have a part only of the installation's
// id; what its address has of it is there from the bridge's first moment, too.
func (h *Host) findBridge(links *netlink.Handle) (netlink.Link, error) {
	l, err := links.LinkByName(h.bridge())
	switch {
	case isNoLink(err):
		return nil, nil
	case err != nil:
		return nil, err
	case l.Type() != "bridge":
		return nil, model.Errorf(model.ErrExists, "%s is a %s and not banger's", h.bridge(), l.Type())
	case h.o.UID != 0 && !bytes.Equal(l.Attrs().HardwareAddr, model.HardwareAddress(h.o.Instance, 0)):
		return nil, model.Errorf(model.ErrExists, "%s is of another of your installations, whose id is like that of this one", h.bridge())
	}
	return l, nil
}

func isNoLink(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, syscall.ENODEV)
}

// wayOutMTU is that of the device that packets to the internet leave by, within a bridge's.
func wayOutMTU(links *netlink.Handle) int {
	routes, err := whole(func() ([]netlink.Route, error) { return links.RouteList(nil, unix.AF_INET) })
	if err != nil {
		return defaultMTU
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := links.LinkByIndex(r.LinkIndex); err == nil {
			return min(max(l.Attrs().MTU, minMTU), maxMTU)
		}
	}
	return defaultMTU
}

// ensureRange gives the bridge the gateway's address in a part of the VMs' range that nobody else on this host has.
func (h *Host) ensureRange(links *netlink.Handle, br netlink.Link) (netip.Prefix, error) {
	part, err := rangeOf(links, br)
	if err != nil || part.IsValid() {
		return part, err
	}
	routes, err := whole(func() ([]netlink.Route, error) { return links.RouteListFiltered(unix.AF_INET, &netlink.Route{}, 0) })
	if err != nil {
		return netip.Prefix{}, err
	}
	for i := range rangesOfHost {
		part := rangeAt((h.preferred() + i) % rangesOfHost)
		if takenBy(routes, part) {
			continue
		}
		gateway := netip.PrefixFrom(addressIn(part, 0), part.Bits())
		address, err := netlink.ParseAddr(gateway.String())
		if err != nil {
			return netip.Prefix{}, err
		}
		return part, links.AddrAdd(br, address)
	}
	return netip.Prefix{}, model.Errorf(model.ErrUnavailable, "every part of %s is in use on this host", model.GuestRange())
}

// takenBy says whether a route other than those to larger networks than the VMs' range leads into part.
func takenBy(routes []netlink.Route, part netip.Prefix) bool {
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		bits, _ := r.Dst.Mask.Size()
		if ok && bits >= model.GuestRange().Bits() && netip.PrefixFrom(addr, bits).Overlaps(part) {
			return true
		}
	}
	return false
}

// rangeOf is the part that the bridge has; the zero Prefix for none.
func rangeOf(links *netlink.Handle, br netlink.Link) (netip.Prefix, error) {
	addresses, err := whole(func() ([]netlink.Addr, error) { return links.AddrList(br, unix.AF_INET) })
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, a := range addresses {
		addr, ok := netip.AddrFromSlice(a.IP.To4())
		if bits, _ := a.Mask.Size(); ok && bits == rangeBits && model.GuestRange().Contains(addr) {
			return netip.PrefixFrom(addr, bits).Masked(), nil
		}
	}
	return netip.Prefix{}, nil
}

// removeBridge gives back what was changed for a bridge, and then removes it.
func removeBridge(links *netlink.Handle, br netlink.Link) error {
	lock, err := lockForwarding()
	if err != nil {
		return err
	}
	defer lock.Close()
	others, err := others(links, br)
	if err != nil {
		return err
	}
	if len(others) == 0 {
		if err := giveBack(links, br.Attrs().Alias); err != nil {
			return err
		}
	}
	crash.At("hostnet.close.unforwarded")
	if err := links.LinkDel(br); err != nil && !isNoLink(err) {
		return err
	}
	return nil
}
