package hostnet

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// tapFlags: frames alone, each with the header that lets large ones and unfinished checksums through whole.
const tapFlags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// openTap opens the tap of that name, which is made when there is none. One that another process has open is busy.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: tunDevice, Err: err}
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(tapFlags)
		err = os.NewSyscallError("TUNSETIFF", unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// KeepTap makes a tap that stays when nobody has it open, of the user uid.
func KeepTap(name string, uid int) error {
	f, err := openTap(name)
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := conn.Control(func(fd uintptr) {
		err = errors.Join(
			os.NewSyscallError("TUNSETOWNER", unix.IoctlSetInt(int(fd), unix.TUNSETOWNER, uid)),
			os.NewSyscallError("TUNSETPERSIST", unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 1)),
		)
	})
	return errors.Join(cerr, err)
}

// findPort returns the tap, or the wire's end, of that name, nil when there is none.
func findPort(links *netlink.Handle, name string) (netlink.Link, error) {
	l, err := links.LinkByName(name)
	switch {
	case isNoLink(err):
		return nil, nil
	case err != nil:
		return nil, err
	case !isPort(l):
		return nil, model.Errorf(model.ErrExists, "%s is a %s and not banger's", name, l.Type())
	}
	return l, nil
}

func isPort(l netlink.Link) bool { return l.Type() == "tuntap" || isWire(l) }

// lldpGroup has frames to the station that LLDP uses treated as any other. Without it a bridge hands those to the host
// past all chains of the bridge family, and the host answers ARP among them, for each of its addresses.
const lldpGroup = 1 << 14

// settle makes a tap, or a wire's end, which is down, a port of the bridge: nothing of another port comes to it, and it gets no frame that
// is not its guest's.
func settle(links *netlink.Handle, tap, br netlink.Link) error {
	if err := quiet(tap.Attrs().Name); err != nil {
		return err
	}
	if err := links.LinkSetMTU(tap, br.Attrs().MTU); err != nil {
		return err
	}
	if tap.Attrs().MasterIndex != br.Attrs().Index {
		if err := links.LinkSetMaster(tap, br); err != nil {
			return err
		}
	}
	return errors.Join(
		links.LinkSetIsolated(tap, true),
		links.LinkSetLearning(tap, false),
		links.LinkSetFlood(tap, false),
		links.LinkSetBRSlaveGroupFwdMask(tap, lldpGroup),
	)
}

// assign gives a tap that is settled to a VM. Whose it is, is written on it.
func (h *Host) assign(links *netlink.Handle, tap, br netlink.Link, id model.VMID, slot int, address netip.Addr) error {
	mac := model.HardwareAddress(h.o.Instance, slot)
	return errors.Join(
		links.LinkSetAlias(tap, h.alias(id)),
		links.NeighSet(&netlink.Neigh{
			LinkIndex: tap.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_MASTER, State: unix.NUD_NOARP, HardwareAddr: mac,
		}),
		links.NeighSet(neighbour(br, address, mac)),
	)
}

// neighbour is the entry by which the host knows a guest without asking.
func neighbour(br netlink.Link, address netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: br.Attrs().Index, Family: unix.AF_INET, State: unix.NUD_PERMANENT, IP: address.AsSlice(), HardwareAddr: mac,
	}
}

// unplug takes a tap down, and away: from then on nothing comes from its guest. The kernel takes its time for the latter.
func unplug(links *netlink.Handle, tap netlink.Link) error {
	if err := links.LinkSetDown(tap); err != nil && !isNoLink(err) {
		return err
	}
	return ignoreNoLink(links.LinkDel(tap))
}
