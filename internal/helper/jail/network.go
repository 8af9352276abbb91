package jail

import (
	"errors"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/helper/hostnet"
	"banger/internal/model"
)

// Network is what is in a VMM's network namespace, which nobody else has.
type Network int

// The networks.
const (
	NetworkNone Network = iota // nothing
	NetworkWire                // Tap, and the free end of the wire that is the VM's port on the host's bridge
	NetworkTap                 // Tap alone, whose frames who calls OpenTap carries
)

// What is in the namespace. The VMM opens the tap by its name.
const (
	Tap   = "tap0"
	joint = "bridge0" // of the tap and the wire's end: a bridge that neither learns nor has an address

	tapMTU = 65520 // of a tap alone: what a process that carries its frames takes at most
)

// wire is the free end of the wire that a VM's VMM gets, with what can move it: it is in the namespace that it is found in.
type wire struct {
	links *netlink.Handle
	end   netlink.Link // nil for a VMM that gets none
}

// findWire looks for the wire of a VM's that is to have one, in the calling thread's namespace.
func (h *Host) findWire(id model.VMID, slot int, n Network) (w wire, err error) {
	if n != NetworkWire {
		return wire{}, nil
	}
	if w.links, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return wire{}, err
	}
	if w.end, err = hostnet.New(hostnet.Options{Instance: h.o.Instance, UID: h.o.UID}).FreeEnd(w.links, id, slot); err != nil {
		w.close()
		return wire{}, err
	}
	return w, nil
}

func (w wire) close() {
	if w.links != nil {
		w.links.Close()
	}
}

// makeNetwork makes what is in the calling thread's network namespace, which is new: with a tap that the user uid may open,
// and the wire's end. All ends with the namespace, and that with the VMM.
func makeNetwork(n Network, w wire, uid int) error {
	if err := withoutIPv6(); err != nil || n == NetworkNone {
		return err
	}
	if w.end != nil {
		if err := w.move(); err != nil {
			return err
		}
		crash.At("jail.start.wired")
	}
	if err := hostnet.KeepTap(Tap, uid); err != nil {
		return err
	}
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	if w.end != nil {
		return join(links, w.end.Attrs().MTU, w.end.Attrs().Name, Tap)
	}
	tap, err := links.LinkByName(Tap)
	if err != nil {
		return err
	}
	return errors.Join(links.LinkSetMTU(tap, tapMTU), links.LinkSetUp(tap))
}

// move brings the end into the calling thread's network namespace.
func (w wire) move() error {
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	if err := w.links.LinkSetNsFd(w.end, int(here.Fd())); err != nil {
		return os.NewSyscallError("moving "+w.end.Attrs().Name, err)
	}
	return nil
}

// join makes devices the ports of a bridge over which all frames go to all others.
func join(links *netlink.Handle, mtu int, names ...string) error {
	off := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = joint, mtu
	if err := links.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}); err != nil {
		return err
	}
	bridge, err := links.LinkByName(joint)
	if err != nil {
		return err
	}
	for _, name := range names {
		port, err := links.LinkByName(name)
		if err != nil {
			return err
		}
		err = errors.Join(links.LinkSetMTU(port, mtu), links.LinkSetMaster(port, bridge))
		if err == nil {
			// Or a guest could have the kernel learn one address after the other.
			err = errors.Join(links.LinkSetLearning(port, false), links.LinkSetUp(port))
		}
		if err != nil {
			return err
		}
	}
	return links.LinkSetUp(bridge)
}

// withoutIPv6 has no device of the calling thread's network namespace, of which there is none yet, speak it. Where the
// service's /proc/sys is not to be written to, that of the thread's mount namespace, which is its own, is made so.
func withoutIPv6() error {
	const root = "/proc/sys"
	for _, name := range []string{"all", "default"} {
		path := root + "/net/ipv6/conf/" + name + "/disable_ipv6"
		err := write(path, "1")
		if errors.Is(err, unix.EROFS) {
			if err = mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err == nil {
				err = write(path, "1")
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 has none
			return err
		}
	}
	return nil
}
