package helper_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/helper"
	"banger/internal/helper/wire"
	"banger/internal/testenv"
)

// helperVariable is the environment variable that makes the test program the helper.
const helperVariable = "BANGER_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		os.Exit(helper.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// started is the helper with a socket, as systemd starts it: the process id is in its environment before it is there.
func started(t *testing.T, network string, args ...string) (path string, cmd *exec.Cmd) {
	t.Helper()
	path = filepath.Join(testenv.QuickDir(t), "socket")
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	defer l.Close()
	cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), helperVariable+"=1", "LISTEN_FDS=1")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = new(strings.Builder)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return path, cmd
}

func TestSystemdsSocketIsServed(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t) // for whom the helper says hello whoever its owner is
	for service, verb := range map[string]string{"storage": "helper.v1.AttachRequest", "network": "helper.v1.OpenTapRequest"} {
		path, cmd := started(t, wire.Network, service, "--owner", "12345")
		hello, err := wire.Client{Socket: path}.Hello(t.Context())
		if err != nil || hello.GetService() != service || hello.GetOwner() != 12345 || hello.GetVersion() == "" {
			t.Errorf("got %v, %v\n%s", hello, err, cmd.Stderr)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || !strings.Contains(cmd.Stderr.(*strings.Builder).String(), verb) {
			t.Errorf("it ends with %v\n%s", err, cmd.Stderr)
		}
	}
}

func TestWhatItWillNotBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		network string
		args    []string
		says    string
	}{
		"no service":         {wire.Network, nil, "systemd starts it"},
		"an unknown service": {wire.Network, []string{"files", "--owner", "1000"}, `cannot be the service "files"`},
		"no owner":           {wire.Network, []string{"storage"}, "cannot serve uid 0"},
		"root's":             {wire.Network, []string{"storage", "--owner", "0"}, "cannot serve uid 0"},
		"a stream":           {"unix", []string{"storage", "--owner", "1000"}, "not of kind SOCK_SEQPACKET"},
	} {
		_, cmd := started(t, c.network, c.args...)
		if err := cmd.Wait(); err == nil || !strings.Contains(cmd.Stderr.(*strings.Builder).String(), c.says) {
			t.Errorf("%s: %v, %s", name, err, cmd.Stderr)
		}
	}
	cmd := exec.Command(os.Args[0], "storage", "--owner", "1000")
	cmd.Env = append(os.Environ(), helperVariable+"=1", "LISTEN_FDS=1", "LISTEN_PID=1")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "handed over no socket") {
		t.Errorf("without a socket: %v, %s", err, out)
	}
}
