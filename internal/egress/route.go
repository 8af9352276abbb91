package egress

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// IsOwnAddress asks the kernel's routing table, as `ip route get` does, so that addresses on any interface, whole ranges
// that are routed to the host and the broadcast addresses of its links are known without a list of them to keep. What it
// cannot find out is taken for the host's own.
func IsOwnAddress(addr netip.Addr) bool {
	kind, err := routeType(addr)
	return err != nil || kind != unix.RTN_UNICAST && kind != unix.RTN_UNREACHABLE && kind != unix.RTN_PROHIBIT
}

// routeType returns the kernel's RTN_… of the route that a packet to addr takes. That there is none is RTN_UNREACHABLE.
func routeType(addr netip.Addr) (uint8, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	const length = unix.SizeofNlMsghdr + unix.SizeofRtMsg + unix.SizeofRtAttr + 4
	request := make([]byte, 0, length)
	request = binary.NativeEndian.AppendUint32(request, length)
	request = binary.NativeEndian.AppendUint16(request, unix.RTM_GETROUTE)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST)
	request = append(request, make([]byte, 8)...)                             // sequence and port
	request = append(request, unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // an rtmsg: the destination is a /32
	request = binary.NativeEndian.AppendUint16(request, unix.SizeofRtAttr+4)
	request = binary.NativeEndian.AppendUint16(request, unix.RTA_DST)
	bytes := addr.As4()
	request = append(request, bytes[:]...)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0) // the kernel has answered by the time that send returns
	if err != nil {
		return 0, err
	}
	if n < unix.SizeofNlMsghdr+unix.SizeofRtMsg {
		return 0, unix.EBADMSG
	}
	if binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])))
		if errno == unix.ENETUNREACH || errno == unix.EHOSTUNREACH || errno == unix.EACCES {
			return unix.RTN_UNREACHABLE, nil // no route, or one that refuses: a dial says so better than we can
		}
		return 0, errno
	}
	return answer[unix.SizeofNlMsghdr+7], nil
}
