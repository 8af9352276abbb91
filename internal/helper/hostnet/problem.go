package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const tunDevice = "/dev/net/tun"

// Problem says why this host has no taps on a bridge for this process, with what would help; "" when it has. That rules
// can be listed does not prove that they can be made: what the kernel has of them is not asked before it is needed.
func (h *Host) Problem() string {
	const root = "only root can make taps and rules; run bangerd as root"
	f, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return root
	case err != nil:
		return fmt.Sprintf("this host has no taps (%v); try: modprobe tun", err)
	}
	f.Close()
	if !mayAdminister() {
		return root
	}
	rules, err := nftables.New()
	if err == nil {
		_, err = rules.ListTablesOfFamily(nftables.TableFamilyBridge)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return root
	case err != nil:
		return fmt.Sprintf("the kernel has no nftables (%v); try: modprobe nf_tables", err)
	}
	return ""
}

// mayAdminister says whether this process has CAP_NET_ADMIN over its network namespace. A change that changes nothing
// asks the kernel for it.
func mayAdminister() bool {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return false
	}
	defer links.Close()
	lo, err := links.LinkByName("lo")
	if err != nil {
		return false
	}
	return links.LinkSetMTU(lo, lo.Attrs().MTU) == nil
}
