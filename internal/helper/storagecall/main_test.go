package storagecall_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"banger/internal/helper/serve"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/rootdisk/dmsnap/dmsnaptest"
	"banger/internal/testenv"
)

// pretendedVariable is the environment variable that makes the test program a helper, whose host is pretended in the
// directory that it names. The socket is descriptor 3.
const pretendedVariable = "BANGER_TEST_PRETENDED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(pretendedVariable); dir != "" {
		l, err := net.FileListener(os.NewFile(3, "socket"))
		if err == nil {
			err = service(func(serve.Caller) storagecall.Host { return dmsnaptest.New(dir) }).Serve(context.Background(), l.(*net.UnixListener))
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(askVariable) != "" {
		os.Exit(ask())
	}
	os.Exit(m.Run())
}

// service is the helper's for the user who tests.
func service(hosts func(serve.Caller) storagecall.Host) serve.Service {
	return serve.Service{Name: storagecall.Service, Owner: os.Getuid(), Verbs: storagecall.Verbs(hosts), Log: slog.New(slog.DiscardHandler)}
}

// listen makes a socket with a path that fits.
func listen(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	path := filepath.Join(testenv.QuickDir(t), "socket")
	l, err := net.ListenUnix(wire.Network, &net.UnixAddr{Name: path, Net: wire.Network})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // others may listen on it
	return l, path
}

// here serves in this process until the test ends.
func here(t *testing.T, s serve.Service) (socket string) {
	t.Helper()
	l, path := listen(t)
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

// apart serves a pretended host in a process of its own, which more says more of.
func apart(t *testing.T, l *net.UnixListener, dir string, more ...string) *exec.Cmd {
	t.Helper()
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), pretendedVariable+"="+dir), more...)
	cmd.ExtraFiles = []*os.File{socket}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// pair is a base and a file for its changes, as a caller may give them.
func pair(t *testing.T) (base, cow *os.File) {
	t.Helper()
	const size = 1 << 20
	return file(t, size, os.O_RDONLY), file(t, storage.COWBytes(size), os.O_RDWR)
}

func file(t *testing.T, size int64, flags int) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return open(t, path, flags)
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

const instance = model.InstanceID("aaaaaaaa")
