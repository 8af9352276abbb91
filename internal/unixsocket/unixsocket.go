// Package unixsocket reaches Unix sockets by paths of any length.
//
// A socket address holds 107 bytes of path (unix(7)). A longer one is reached through a descriptor of its directory, as
// /proc/self/fd/N/name, which names the same file for as long as the call takes.
package unixsocket

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPath is the longest path that a socket address holds with its closing NUL.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var conn *net.UnixConn
	err := short(path, func(addr string) error {
		c, err := new(net.Dialer).DialContext(ctx, "unix", addr)
		if err == nil {
			conn = c.(*net.UnixConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", path, err)
	}
	return conn, nil
}

// Listen makes the socket at path, with mode 0600 whatever the umask, and listens on it. Closing the listener does not
// unlink it; what was there before, such as a dead owner's socket, is replaced. Who may own the name is decided by a
// lock, before this.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	var l *net.UnixListener
	err := short(path, func(addr string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: addr, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}

// short calls use with an address for path that fits.
func short(path string, use func(addr string) error) error {
	if len(path) <= maxPath {
		return use(path)
	}
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// PeerCred returns who is at the other end of a Unix connection: for a client the process that called listen last, for a
// server the one that called connect. The pid may be dead or another's by now; who acts on it checks first.
func PeerCred(conn net.Conn) (uid uint32, pid int, err error) {
	cred, err := PeerUcred(conn)
	return cred.Uid, int(cred.Pid), err
}

// PeerUcred is PeerCred with all that the kernel tells.
func PeerUcred(conn net.Conn) (unix.Ucred, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return unix.Ucred{}, fmt.Errorf("cannot tell who is at the other end of a %T", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return unix.Ucred{}, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) {
		cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return unix.Ucred{}, err
	}
	if got != nil {
		return unix.Ucred{}, fmt.Errorf("cannot tell who is at the other end of a socket: %w", got)
	}
	return *cred, nil
}
