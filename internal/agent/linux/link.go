package linux

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/agent"
)

// linkLimit is how long the network interface may take to appear; its module is loaded while the root is mounted.
const linkLimit = 30 * time.Second

// raiseLink gives the interface with the link's MAC its address and its routes. The address stands alone in its network,
// so that everything goes through the gateway, which decides what may pass.
func raiseLink(l agent.Link) error {
	address, err := netip.ParsePrefix(l.Address)
	if err != nil || !address.Addr().Is4() {
		return fmt.Errorf("cannot set up the network: %q is no IPv4 address with a prefix length", l.Address)
	}
	gateway, err := netip.ParseAddr(l.Gateway)
	if err != nil || !gateway.Is4() {
		return fmt.Errorf("cannot set up the network: %q is no IPv4 address", l.Gateway)
	}
	name, err := await("the network interface "+net.HardwareAddr(l.MAC).String(), linkLimit, func() (string, bool) {
		return findInterface(l.MAC)
	})
	if err != nil {
		return err
	}
	quietIPv6(name)
	c, err := newInterface(name)
	if err != nil {
		return err
	}
	defer c.close()
	return errors.Join(
		c.number("MTU", unix.SIOCSIFMTU, uint32(l.MTU)),
		c.address("address", unix.SIOCSIFADDR, address.Addr()),
		c.address("network mask", unix.SIOCSIFNETMASK, mask(address.Bits())),
		c.up(),
		c.route(netip.PrefixFrom(gateway, 32), netip.Addr{}),
		c.route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway),
	)
}

func findInterface(mac []byte) (string, bool) {
	all, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return "", false
	}
	for _, d := range all {
		text, err := os.ReadFile(filepath.Join("/sys/class/net", d.Name(), "address"))
		if err != nil {
			continue
		}
		if its, err := net.ParseMAC(strings.TrimSpace(string(text))); err == nil && bytes.Equal(its, mac) {
			return d.Name(), true
		}
	}
	return "", false
}

// quietIPv6 turns IPv6 off on the interface before it is up: none is offered, and what a router said would be believed. A
// kernel without IPv6 has nothing to turn off.
func quietIPv6(name string) {
	for _, setting := range []struct{ name, value string }{{"accept_ra", "0"}, {"disable_ipv6", "1"}} {
		_ = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, setting.name), []byte(setting.value), 0)
	}
}

// inet is a kernel's view of one interface, by the ioctls of netdevice(7).
type inet struct {
	name string
	fd   int
}

func newInterface(name string) (inet, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return inet{}, fmt.Errorf("cannot set up the network: %w", err)
	}
	return inet{name, fd}, nil
}

func (c inet) close() { unix.Close(c.fd) }

func (c inet) set(what string, request uint, fill func(*unix.Ifreq) error) error {
	r, err := unix.NewIfreq(c.name)
	if err == nil {
		err = fill(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(c.fd, request, r)
	}
	if err != nil {
		return fmt.Errorf("cannot set the %s of %s: %w", what, c.name, err)
	}
	return nil
}

func (c inet) number(what string, request uint, n uint32) error {
	if n == 0 {
		return nil // the driver's own
	}
	return c.set(what, request, func(r *unix.Ifreq) error { r.SetUint32(n); return nil })
}

func (c inet) address(what string, request uint, a netip.Addr) error {
	return c.set(what, request, func(r *unix.Ifreq) error { return r.SetInet4Addr(a.AsSlice()) })
}

func (c inet) up() error {
	return c.set("flags", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
}

// rtentry is the kernel's struct of that name on 64-bit machines (linux/route.h).
type rtentry struct {
	pad1                 uint64
	dst, gateway, mask   unix.RawSockaddrInet4
	flags                uint16
	pad2                 int16
	pad3                 uint64
	pad4                 uintptr
	metric               int16
	dev                  *byte
	mtu, window, timeout uint64
}

// route sends to through the interface, by the gateway unless that is the zero address. A route that is there is fine.
func (c inet) route(to netip.Prefix, gateway netip.Addr) error {
	dev, err := unix.BytePtrFromString(c.name)
	if err != nil {
		return err
	}
	r := rtentry{dst: sockaddr(to.Addr()), mask: sockaddr(mask(to.Bits())), flags: unix.RTF_UP, dev: dev}
	if to.IsSingleIP() {
		r.flags |= unix.RTF_HOST
	}
	if gateway.IsValid() {
		r.gateway, r.flags = sockaddr(gateway), r.flags|unix.RTF_GATEWAY
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 && errno != unix.EEXIST {
		return fmt.Errorf("cannot route %s through %s: %w", to, c.name, errno)
	}
	return nil
}

func sockaddr(a netip.Addr) unix.RawSockaddrInet4 {
	return unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: a.As4()}
}

func mask(bits int) netip.Addr {
	m := net.CIDRMask(bits, 32)
	return netip.AddrFrom4([4]byte(m))
}
