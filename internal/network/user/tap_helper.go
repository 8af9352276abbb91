package user

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// TapCommand is the first argument of this program when it is run inside a VMM's namespaces.
const TapCommand = "packet-socket"

// buffers is what the socket is to hold in each direction, some dozens of the largest frames; the host's limit for ordinary
// users (net.core.rmem_max) may make less of it.
const buffers = 4 << 20

// TapHelper makes the socket and sends it to who runs us, by the socket that is our standard input. It runs inside the VMM's
// namespaces, as their root. args are what follows TapCommand.
func TapHelper(args []string) error {
	if len(args) != 2 {
		return errors.New("which tap, and what MTU?")
	}
	mtu, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil {
		return err
	}
	// Nothing in here speaks but the guest: the kernel's own IPv6 would.
	path := "/proc/sys/net/ipv6/conf/" + args[0] + "/disable_ipv6"
	if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := raise(args[0], uint32(mtu)); err != nil {
		return fmt.Errorf("cannot raise %s: %w", args[0], err)
	}
	socket, err := packetSocket(args[0])
	if err != nil {
		return fmt.Errorf("cannot make a packet socket on %s: %w", args[0], err)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(0, []byte{0}, unix.UnixRights(socket), nil, 0))
}

func raise(name string, mtu uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint32(mtu)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, r); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return err
	}
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

func packetSocket(name string) (int, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	// Of no protocol until it is bound, so that it never sees another device's frames.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1}, // which checksums are still to be made
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, buffers},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, buffers},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			return -1, err
		}
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device.Index})
}
