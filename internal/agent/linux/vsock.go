package linux

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/channel"
)

// listenVsock makes the socket on which the host reaches the agent. It may be made before there is a device: a host that
// comes while the device's driver is being loaded then finds it.
func listenVsock() (int, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot listen on vsock: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: channel.VsockPort}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot listen on vsock: %w", err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot listen on vsock: %w", err)
	}
	return fd, nil
}

// vsockListener yields the host's connections, one at a time: a new one ends the one before it.
type vsockListener struct {
	file *os.File
	raw  syscall.RawConn
	next chan net.Conn
	over chan struct{} // closed when there will be no more
	err  error         // why, once over is closed
}

// newVsockListener owns fd, a listening socket.
func newVsockListener(fd int) (*vsockListener, error) {
	file := os.NewFile(uintptr(fd), "vsock")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot hear the host: %w", err)
	}
	l := &vsockListener{file: file, raw: raw, next: make(chan net.Conn), over: make(chan struct{})}
	go l.run()
	return l, nil
}

func (l *vsockListener) run() {
	defer close(l.over)
	var last net.Conn
	for {
		conn, err := l.accept()
		if err != nil {
			l.err = err
			return
		}
		if last != nil {
			last.Close()
		}
		last = conn
		l.next <- conn
	}
}

// accept returns the next connection of the host itself. Others are users of this guest, whom it does not serve.
func (l *vsockListener) accept() (net.Conn, error) {
	for {
		fd, from := -1, unix.Sockaddr(nil)
		var err error
		werr := l.raw.Read(func(listener uintptr) bool {
			fd, from, err = unix.Accept4(int(listener), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(err, unix.EAGAIN)
		})
		switch {
		case werr != nil:
			return nil, werr
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			return nil, os.NewSyscallError("accept", err)
		}
		if peer, ok := from.(*unix.SockaddrVM); !ok || peer.CID != unix.VMADDR_CID_HOST {
			unix.Close(fd)
			continue
		}
		return vsockConn{os.NewFile(uintptr(fd), "host")}, nil
	}
}

// Accept waits for the next connection.
func (l *vsockListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.next:
		return conn, nil
	case <-l.over:
		return nil, l.err
	}
}

// Close ends the listener.
func (l *vsockListener) Close() error { return l.file.Close() }

// vsockConn is a connection of the host. Package net knows no vsock; the runtime's poller does not need it to.
type vsockConn struct{ *os.File }

// Read tells the end of the stream as every connection does.
func (c vsockConn) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	if errors.Is(err, unix.ECONNRESET) { // the host's process is gone
		err = io.EOF
	}
	return n, err
}

// LocalAddr is the agent's.
func (c vsockConn) LocalAddr() net.Addr { return vsockAddr{} }

// RemoteAddr is the host's.
func (c vsockConn) RemoteAddr() net.Addr { return vsockAddr{} }

type vsockAddr struct{}

func (vsockAddr) Network() string { return "vsock" }
func (vsockAddr) String() string  { return fmt.Sprint(channel.VsockPort) }
