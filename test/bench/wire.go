package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/unixsocket"
)

const wireArgument = "wire"

// The ends of the wire, as banger's own guests and gateway are numbered.
func wireHost() netip.Addr  { return netip.AddrFrom4([4]byte{198, 18, 0, 1}) }
func wireGuest() netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, 2}) }

const (
	wireBits  = 15
	wireFrame = 68 << 10 // the largest that QEMU carries
)

// startWire starts a process that copies frames between a VMM's network socket and a tap device in a user and network
// namespace of its own, and returns a listener on that namespace's end: the pass-through of the frames with nothing
// between them and a kernel's TCP.
func startWire(ctx context.Context, socket string, mtu int) (_ net.Listener, stop func(), err error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close()
	self, err := os.Executable()
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, wireArgument, socket, strconv.Itoa(mtu))
	var said strings.Builder
	cmd.Stderr, cmd.ExtraFiles = &said, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:   syscall.SIGKILL,
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a user and network namespace: %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed: its end is no news
	}
	l, err := receiveListener(ours)
	if err != nil {
		stop()
		if text := strings.TrimSpace(said.String()); text != "" {
			err = errors.New(strings.TrimPrefix(text, "bench: "))
		}
		return nil, nil, err
	}
	return l, stop, nil
}

func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs"), nil
}

// receiveListener takes the socket that the wire made. A socket belongs to the namespace that it was made in.
func receiveListener(from *os.File) (net.Listener, error) {
	buf, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, size, _, _, err := unix.Recvmsg(int(from.Fd()), buf, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("the wire ended before it was there")
	}
	messages, err := unix.ParseSocketControlMessage(rights[:size])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("the wire sent no socket"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fds[0]), "listener")
	defer file.Close()
	return net.FileListener(file)
}

// wire is the process that startWire starts. Descriptor 3 takes the listener.
func wire(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: wire SOCKET MTU")
	}
	mtu, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	tap, err := openTap(mtu)
	if err != nil {
		return err
	}
	link, err := unixsocket.Dial(context.Background(), args[0])
	if err != nil {
		return err
	}
	if err := sendListener(3); err != nil {
		return err
	}
	ended := make(chan error)
	go func() { ended <- framesOut(tap, link) }()
	go func() { ended <- framesIn(tap, link) }()
	return <-ended
}

func sendListener(to int) error {
	l, err := net.Listen("tcp4", netip.AddrPortFrom(wireHost(), 0).String())
	if err != nil {
		return err
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Sendmsg(to, []byte{'l'}, unix.UnixRights(int(file.Fd())), nil, 0)
}

// framesOut copies frames from the guest to the tap.
func framesOut(tap *os.File, link net.Conn) error {
	in := bufio.NewReaderSize(link, 1<<20)
	frame := make([]byte, wireFrame)
	var head [4]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > wireFrame {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		if _, err := io.ReadFull(in, frame[:n]); err != nil {
			return err
		}
		if _, err := tap.Write(frame[:n]); err != nil {
			return err
		}
	}
}

// framesIn copies frames from the tap to the guest.
func framesIn(tap *os.File, link net.Conn) error {
	buf := make([]byte, 4+wireFrame)
	for {
		n, err := tap.Read(buf[4:])
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(buf, uint32(n))
		if _, err := link.Write(buf[:4+n]); err != nil {
			return err
		}
	}
}

// openTap makes a tap device with the host's address on the wire.
func openTap(mtu int) (*os.File, error) {
	const device = "/dev/net/tun"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", device, err)
	}
	tap := os.NewFile(uintptr(fd), device)
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, tap.Close())
	}
	defer unix.Close(socket)
	host, mask := wireHost().As4(), net.CIDRMask(wireBits, 32)
	for _, step := range []struct {
		what    string
		fd      int
		request uint
		fill    func(*unix.Ifreq) error
	}{
		{"make a tap device", fd, unix.TUNSETIFF, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI); return nil }},
		{"set its MTU", socket, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(uint32(mtu)); return nil }},
		{"set its address", socket, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(host[:]) }},
		{"set its mask", socket, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }},
		{"raise it", socket, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }},
	} {
		request, err := unix.NewIfreq("bench0")
		if err == nil {
			err = step.fill(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(step.fd, step.request, request)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot %s: %w", step.what, err), tap.Close())
		}
	}
	return tap, nil
}
