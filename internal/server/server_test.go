package server_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/server/servertest"
	"banger/internal/testenv"
	"banger/internal/unixsocket"
	"banger/internal/version"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// speak returns a client that claims to speak a protocol.
func speak(t *testing.T, d *servertest.Daemon, protocol string) *connect.Client {
	t.Helper()
	transport := &http.Transport{
		Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixsocket.Dial(ctx, d.Dirs.Socket())
		},
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, "http://bangerd"),
		func(next connect.ClientFunc) connect.ClientFunc {
			return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
				info, _ := connect.CallInfoForClientContext(ctx)
				info.RequestHeader().Set(version.HeaderProtocol, protocol)
				info.RequestHeader().Set(version.HeaderVersion, "v9.9")
				return next(ctx, spec)
			}
		})
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	other := speak(t, d, "999")
	_, err := bangerv1connect.NewVMServiceClient(other).List(t.Context(), &bangerv1.ListVMsRequest{})
	for _, want := range []string{version.Version, "v9.9", "banger daemon restart", "running VMs stay"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	daemon := bangerv1connect.NewDaemonServiceClient(other)
	if _, err := daemon.Status(t.Context(), &bangerv1.DaemonStatusRequest{}); err != nil {
		t.Errorf("status: %v", err)
	}
	if _, err := daemon.Stop(t.Context(), &bangerv1.StopDaemonRequest{}); err != nil {
		t.Errorf("stop: %v", err)
	}
	<-d.Stopped
}

func TestPanicIsOneRequestsError(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	d.VMs.Add("box", 0)
	d.VMs.Panic = "Resolve"
	vms := bangerv1connect.NewVMServiceClient(speak(t, d, "1"))
	if _, err := vms.Resolve(t.Context(), &bangerv1.ResolveVMsRequest{Refs: []string{"box"}}); connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("got %v, want an internal error", err)
	}
	if _, err := vms.List(t.Context(), &bangerv1.ListVMsRequest{}); err != nil {
		t.Errorf("the next request: %v", err)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	d := servertest.Start(t)
	going := make(chan struct{})
	d.VMs.Work = func(ctx context.Context, _ string, _ *operation.Operation) error {
		close(going)
		<-ctx.Done()
		return ctx.Err()
	}
	stream, err := bangerv1connect.NewVMServiceClient(speak(t, d, "1")).Create(t.Context(), &bangerv1.CreateVMRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	first, err := stream.Receive()
	if err != nil {
		t.Fatal(err)
	}
	id := model.OperationID(first.GetOperationId())
	<-going
	d.Close(t)
	for {
		if _, err = stream.Receive(); err != nil {
			break
		}
	}
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("the stream ends with %v", err)
	}
	if err := d.Operations.Cancel(id); err != nil {
		t.Errorf("the operation did not outlive its watcher: %v", err)
	}
}

// A connection of another user is closed before anything is read from it, even when the socket lets that user in.
func TestAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	d := servertest.Start(t)
	for path := d.Dirs.Socket(); path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := askAs(65534, d.Dirs.Socket()); err != nil || answer != "" {
		t.Errorf("uid 65534 was answered %q, %v", answer, err)
	}
	if answer, err := askAs(0, d.Dirs.Socket()); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 ") {
		t.Errorf("we were answered %q, %v", answer, err)
	}
}

// askAs connects as uid, says something and returns the answer.
func askAs(uid int, socket string) (answer string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread, which alone takes the uid, ends with this goroutine
		answer, err = askOnThread(uid, socket)
	}()
	<-done
	return answer, err
}

func askOnThread(uid int, socket string) (string, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		return "", errno
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return "", err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(time.Minute / time.Second)}); err != nil {
		return "", err
	}
	if err := unix.Send(fd, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), unix.MSG_NOSIGNAL); err != nil && !errors.Is(err, unix.EPIPE) {
		return "", err
	}
	buf := make([]byte, 100)
	n, err := unix.Read(fd, buf)
	if errors.Is(err, unix.ECONNRESET) {
		return "", nil
	}
	return string(buf[:max(n, 0)]), err
}
