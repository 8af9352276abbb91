package storagecall_test

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"banger/internal/helper/serve"
	"banger/internal/helper/serve/servetest"
	"banger/internal/helper/storage"
	"banger/internal/helper/storagecall"
	"banger/internal/model"
	"banger/internal/rootdisk/dmsnap/dmsnaptest"
)

// pretendedVariable is the environment variable that makes the test program a helper, whose host is pretended in the
// directory that it names.
const pretendedVariable = "BANGER_TEST_PRETENDED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(pretendedVariable); dir != "" {
		os.Exit(servetest.Main(service(func(serve.Caller) storagecall.Host { return dmsnaptest.New(dir) })))
	}
	if os.Getenv(askVariable) != "" {
		os.Exit(ask())
	}
	os.Exit(m.Run())
}

// service is the helper's for the user who tests.
func service(hosts func(serve.Caller) storagecall.Host) serve.Service {
	return serve.Service{Name: storagecall.Service, Owner: os.Getuid(), Verbs: storagecall.Verbs(&serve.VMs{}, hosts), Log: slog.New(slog.DiscardHandler)}
}

// apart serves a pretended host in a process of its own, which more says more of.
func apart(t *testing.T, l *net.UnixListener, dir string, more ...string) *exec.Cmd {
	t.Helper()
	return servetest.Apart(t, l, append(more, pretendedVariable+"="+dir)...)
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
