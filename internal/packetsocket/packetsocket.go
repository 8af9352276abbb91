// Package packetsocket makes the sockets by which the frames of a tap are read and written beside its holder.
package packetsocket

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// buffers is what a socket is to hold in each direction, some dozens of the largest frames; the host's limit for ordinary
// users (net.core.rmem_max) may make less of it.
const buffers = 4 << 20

// Open makes one on the device of that name in the calling thread's network namespace. Each frame has the header of
// virtio_net before it.
func Open(name string) (*os.File, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	// Of no protocol until it is bound, so that it never sees another device's frames.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := set(fd, device.Index); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func set(fd, device int) error {
	for _, option := range []struct{ level, name, value int }{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1}, // which checksums are still to be made
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUF, buffers},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, buffers},
	} {
		if err := unix.SetsockoptInt(fd, option.level, option.name, option.value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device}))
}
