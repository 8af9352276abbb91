package user

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"banger/internal/packetsocket"
)

// TapCommand is the first argument of this program when it is run inside a VMM's namespaces.
const TapCommand = "packet-socket"

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
	socket, err := packetsocket.Open(args[0])
	if err != nil {
		return fmt.Errorf("cannot make a packet socket on %s: %w", args[0], err)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(0, []byte{0}, unix.UnixRights(int(socket.Fd())), nil, 0))
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
