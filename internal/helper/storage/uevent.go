package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// events are the kernel's announcements of what happens to devices. What they say is not read: that something happened is
// why one looks again.
type events struct{ socket *os.File }

// listen begins to hear them: what happens from now on is not missed.
func listen() (*events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("cannot hear of devices: %w", err)
	}
	const fromKernel = 1 // the group
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: fromKernel}); err != nil {
		return nil, fmt.Errorf("cannot hear of devices: %w", errors.Join(err, unix.Close(fd)))
	}
	return &events{os.NewFile(uintptr(fd), "uevents")}, nil
}

func (e *events) close() { _ = e.socket.Close() } // nothing was written

// until returns when done says so. It asks at once and whenever something has happened; when ctx ends first, the error is
// why.
func (e *events) until(ctx context.Context, why string, done func() (bool, error)) error {
	stop := context.AfterFunc(ctx, func() { _ = e.socket.SetReadDeadline(time.Unix(1, 0)) }) // what is read then fails
	defer stop()
	buffer := make([]byte, 8<<10)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", why, err)
		}
		// Too many events to hold are events, too.
		if _, err := e.socket.Read(buffer); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("cannot hear of devices: %w", err)
		}
	}
}
