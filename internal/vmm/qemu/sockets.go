package qemu

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"banger/internal/crash"
	"banger/internal/network"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
)

// The sockets in a VM's directory.
const (
	socketMonitor = "qmp"
	socketConsole = "console"
	socketData    = "agent.data"
	socketControl = "agent.control"
)

var socketNames = [...]string{socketMonitor, socketConsole, socketData, socketControl}

// sockets are the ones that QEMU will listen on.
type sockets struct {
	listeners []*net.UnixListener
	files     []*os.File // the same, for inheritance
	paths     []string
}

func listen(c vmm.Config) (*sockets, error) {
	s := &sockets{}
	for _, name := range socketNames {
		s.paths = append(s.paths, filepath.Join(c.Dir, name))
	}
	if c.Link.Kind == network.LinkSocket {
		s.paths = append(s.paths, c.Link.Socket)
	}
	crash.At("qemu.listen.before")
	for i, path := range s.paths {
		l, err := unixsocket.Listen(path)
		if err == nil {
			s.listeners = append(s.listeners, l)
			var f *os.File
			if f, err = l.File(); err == nil {
				s.files = append(s.files, f)
			}
		}
		if err != nil {
			s.paths = s.paths[:i+1]
			s.close()
			s.unlink()
			return nil, err
		}
		crash.At("qemu.listen.socket")
	}
	return s, nil
}

// close closes this process's hold on the sockets; QEMU's is its own.
func (s *sockets) close() {
	for _, l := range s.listeners {
		l.Close()
	}
	for _, f := range s.files {
		f.Close()
	}
}

// unlink removes the sockets' names; what is not there is fine.
func (s *sockets) unlink() {
	crash.At("qemu.unlink.before")
	for _, path := range s.paths {
		_ = os.Remove(path)
		crash.At("qemu.unlink.socket")
	}
}

// dial connects to one of a VMM's sockets. QEMU holds one connection at a time and queues two; when all are taken, by
// connections of the past that it has not yet seen the end of, connecting fails at once, and the kernel has no event to
// wait for: this is tried again until ctx ends.
func dial(ctx context.Context, dir, name string) (*net.UnixConn, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		conn, err := unixsocket.Dial(ctx, filepath.Join(dir, name))
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}
