package hostnet

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lost matches the connections of addresses that are nobody's any more.
type lost map[netip.Addr]func() bool // says whether it still is

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (l lost) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, ip := range [][]byte{flow.Forward.SrcIP, flow.Forward.DstIP} {
		addr, _ := netip.AddrFromSlice(ip)
		if still := l[addr.Unmap()]; still != nil && still() {
			return true
		}
	}
	return false
}

// forget has the kernel forget them. It has to go through all that there are. A kernel that cannot be asked to forgets
// them by itself, later.
func (l lost) forget(tracked *netlink.Handle) error {
	_, err := whole(func() (uint, error) {
		return tracked.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, l)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	return err
}

// forgetConnections has the kernel forget those of an address, which another VM gets.
func forgetConnections(address netip.Addr) error {
	tracked, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer closeLater(tracked.Close)
	return lost{address: func() bool { return true }}.forget(tracked)
}
