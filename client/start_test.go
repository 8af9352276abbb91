package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/client"
	"banger/internal/dirs"
	"banger/internal/procs"
	"banger/internal/unixsocket"
	"banger/internal/version"
)

// mode, when set, makes this test binary a daemon: the one that a client under test starts.
const mode = "BANGER_TEST_DAEMON"

func TestMain(m *testing.M) {
	if how := os.Getenv(mode); how != "" {
		os.Exit(daemonMain(how))
	}
	goleak.VerifyTestMain(m)
}

func daemonMain(how string) int {
	says := os.NewFile(3, "says")
	switch how {
	case "silent":
		return 1
	case "refuses":
		fmt.Fprint(says, "error: cannot do that: two\nlines")
		return 1
	}
	d, err := dirs.Default()
	if err != nil {
		return 1
	}
	lock, err := procs.TryLock(d.Lock())
	if err != nil {
		fmt.Fprintln(says, "running")
		return 0
	}
	defer lock.Close()
	if how == "slow" {
		time.Sleep(300 * time.Millisecond) // others meet a lock and no socket
	}
	l, err := unixsocket.Listen(d.Socket())
	if err != nil {
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	rpc := connect.NewServer(asAnother)
	bangerv1connect.RegisterDaemonServiceHandler(rpc, &daemonService{stop: stop})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, rpc)
	s := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l)
	fmt.Fprintln(says, "ready")
	says.Close()
	<-ctx.Done()
	_ = s.Shutdown(context.Background())
	return 0
}

// asAnother makes the daemon one of another version.
func asAnother(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		info, _ := connect.CallInfoForServerContext(ctx)
		info.ResponseHeader().Set(version.HeaderVersion, "v0-another")
		return next(ctx, spec, stream)
	}
}

type daemonService struct{ stop func() }

func (s *daemonService) Status(context.Context, *bangerv1.DaemonStatusRequest) (*bangerv1.DaemonStatusResponse, error) {
	cwd, _ := os.Getwd()
	umask := syscall.Umask(0)
	syscall.Umask(umask)
	slack, _ := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	return &bangerv1.DaemonStatusResponse{
		Pid: int32(os.Getpid()), StateDir: cwd, Version: fmt.Sprintf("%03o, slack %s", umask, time.Duration(slack)), Vmm: fmt.Sprint(int(sid) == os.Getpid()),
		Slow: os.Getenv("SOMETHING_OF_THE_SHELL"),
	}, nil
}

func (s *daemonService) Ping(context.Context, *bangerv1.PingRequest) (*bangerv1.PingResponse, error) {
	return &bangerv1.PingResponse{}, nil
}

func (s *daemonService) Stop(context.Context, *bangerv1.StopDaemonRequest) (*bangerv1.StopDaemonResponse, error) {
	s.stop()
	return &bangerv1.StopDaemonResponse{}, nil
}

func startOptions(t *testing.T, how string) client.Options {
	t.Helper()
	home := t.TempDir()
	for _, name := range []string{"STATE", "DATA", "CACHE", "CONFIG"} {
		t.Setenv("XDG_"+name+"_HOME", filepath.Join(home, strings.ToLower(name)))
	}
	t.Setenv(mode, how)
	t.Setenv("SOMETHING_OF_THE_SHELL", "which is none of the daemon's business")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return client.Options{Autostart: true, Daemon: self}
}

func TestManyClientsStartOneDaemon(t *testing.T) {
	o := startOptions(t, "slow")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	pids := make([]int, 20)
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() {
			c, err := client.Dial(ctx, o)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			s, err := c.Status(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			pids[i] = s.PID
		})
	}
	wg.Wait()
	for _, pid := range pids {
		if pid == 0 || pid != pids[0] {
			t.Fatalf("not one daemon: %v", pids)
		}
	}
	stopDaemon(ctx, t, o, pids[0])
}

func stopDaemon(ctx context.Context, t *testing.T, o client.Options, pid int) {
	t.Helper()
	c, err := client.Dial(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StopDaemon(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := procs.Of(pid); err == nil {
		t.Errorf("the daemon %d still runs after StopDaemon", pid)
	}
}

func TestDaemonOwesNothingToItsStarter(t *testing.T) {
	o := startOptions(t, "quick")
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var heard []string
	o.Log = func(line string) { heard = append(heard, line) }
	c, err := client.Dial(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		s, err := c.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.StateDir != "/" || s.Version != "077, slack 1ms" || s.VMM != "true" || s.Slow != "" {
			t.Errorf("directory %q, umask %s, leads its session: %s, our environment: %q", s.StateDir, s.Version, s.VMM, s.Slow)
		}
	}
	if umask := syscall.Umask(0o022); umask == 0o077 {
		t.Error("our own umask was changed")
	}
	if len(heard) != 1 || !strings.Contains(heard[0], "v0-another") || !strings.Contains(heard[0], "banger daemon restart") {
		t.Errorf("of the other version we heard %q, want one line", heard)
	}
	if err := c.StopDaemon(ctx); err != nil {
		t.Error(err)
	}
}

func TestDaemonThatDoesNotStart(t *testing.T) {
	for how, want := range map[string]string{"silent": "bangerd.log", "refuses": "cannot do that: two\nlines"} {
		t.Run(how, func(t *testing.T) {
			o := startOptions(t, how)
			_, err := client.Dial(t.Context(), o)
			if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		o := startOptions(t, "quick")
		o.Daemon = "/no/such/bangerd"
		if _, err := client.Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), o.Daemon) {
			t.Errorf("got %v", err)
		}
	})
}
