package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// header is what comes before each frame.
const header = 10

// openTap opens the tap of that name as Firecracker does.
func openTap(name string) (*os.File, error) {
	const (
		setInterface = 0x400454ca // TUNSETIFF
		flags        = 0x5002     // a tap, without packet information, with headers
	)
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var request struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], name)
	request.flags = flags
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), setInterface, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return nil, errors.Join(fmt.Errorf("TUNSETIFF: %w", errno), syscall.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// arp asks, from a hardware address and an IPv4 address, for that of another, and returns the answer.
func arp(words string) (string, error) {
	var mac, from, to string
	if _, err := fmt.Sscan(words, &mac, &from, &to); err != nil {
		return "", err
	}
	source, err := net.ParseMAC(mac)
	if err != nil {
		return "", err
	}
	tap, err := openTap("tap0")
	if err != nil {
		return "", err
	}
	defer tap.Close()
	own, other := netip.MustParseAddr(from).AsSlice(), netip.MustParseAddr(to).AsSlice()
	question := bytes.Join([][]byte{
		make([]byte, header), bytes.Repeat([]byte{0xff}, 6), source, {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1}, source, own, make([]byte, 6), other, make([]byte, 18),
	}, nil)
	buf := make([]byte, 4096)
	for range 10 { // it takes a moment until the ports forward
		if _, err := tap.Write(question); err != nil {
			return "", err
		}
		_ = tap.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for {
			n, err := tap.Read(buf)
			if err != nil {
				break
			}
			frame := buf[header:n]
			if len(frame) >= 42 && bytes.Equal(frame[12:14], []byte{8, 6}) && frame[21] == 2 && bytes.Equal(frame[28:32], other) {
				return net.HardwareAddr(frame[22:28]).String(), nil
			}
		}
	}
	return "", errors.New("nobody answers")
}
