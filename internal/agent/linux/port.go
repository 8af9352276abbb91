package linux

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// port is a virtio-serial port with the reads that package channel asks for. While no host has the other side open, the
// kernel answers each read at once with nothing; a wait for the next host is a wait for the port's next event.
type port struct {
	*os.File
	raw  syscall.RawConn
	gone bool // the end of a host has been told; used by one reader at a time
}

// openPort opens the port of that name, waiting for its device.
func openPort(name string) (*port, error) {
	path, err := await("the port "+name, 0, func() (string, bool) {
		return findBySysfs("/sys/class/virtio-ports", "name", name)
	})
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the port %s: %w", name, err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("cannot use the port %s: %w", name, err)
	}
	return &port{File: file, raw: raw}, nil
}

// Read returns io.EOF once when the host's side closes, and then waits for the next host's first bytes.
func (p *port) Read(b []byte) (int, error) {
	var n int
	var err error
	werr := p.raw.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Read(int(fd), b)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return false
			case err == nil && n == 0 && p.gone:
				return false
			}
			return true
		}
	})
	switch {
	case werr != nil:
		return 0, werr
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		p.gone = true
		return 0, io.EOF
	}
	p.gone = false
	return n, nil
}
