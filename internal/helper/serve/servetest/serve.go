// Package servetest is for tests of what the helper's services answer: in this process, or in one of their own.
package servetest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"banger/internal/helper/serve"
	"banger/internal/helper/wire"
	"banger/internal/testenv"
)

// Listen makes a socket with a path that fits. Others may listen on it, too.
func Listen(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	path := filepath.Join(testenv.QuickDir(t), "socket")
	l, err := net.ListenUnix(wire.Network, &net.UnixAddr{Name: path, Net: wire.Network})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	return l, path
}

// Here serves in this process until the test ends.
func Here(t *testing.T, s serve.Service) (socket string) {
	t.Helper()
	l, path := Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// Apart starts the test program again, with env, which calls Main then. The caller waits for it.
func Apart(t *testing.T, l *net.UnixListener, env ...string) *exec.Cmd {
	t.Helper()
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = []*os.File{socket}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Main serves in a process that Apart has started, until it is killed, and returns the exit code.
func Main(s serve.Service) int {
	l, err := net.FileListener(os.NewFile(3, "socket"))
	if err == nil {
		err = s.Serve(context.Background(), l.(*net.UnixListener))
	}
	if err != nil {
		return 1
	}
	return 0
}
