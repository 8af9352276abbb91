package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/netd"
	"banger/internal/network"
	"banger/internal/network/networktest"
	"banger/internal/network/user"
	"banger/internal/procs"
	"banger/internal/testenv"
)

// What the test program is called when it is run in the directory of an installation: as its netd, or as what is killed.
const (
	realNetd     = "real-netd"
	killedDriver = "driver"
)

func TestMain(m *testing.M) {
	state := filepath.Dir(os.Args[0])
	switch filepath.Base(os.Args[0]) {
	case realNetd:
	case killedDriver:
		os.Exit(passEveryPoint(state, os.Args[1], os.Args[2:]))
	default:
		os.Exit(testenv.OwnNetwork(m))
	}
	announce := procs.Starter()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := os.Chmod(state, 0o700)
	if err == nil {
		err = netd.Run(ctx, dirs.Dirs{State: state}, func() { announce("ready") })
	}
	switch {
	case errors.Is(err, netd.ErrRunning):
		announce("running")
	case err != nil:
		announce("error: " + err.Error())
		os.Exit(1)
	}
}

// packets is the driver whose process does what the kernel does not.
func packets(t *testing.T, host string) *user.Driver {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(host, realNetd)
	if err := os.Symlink(self, program); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	d := user.New(user.Options{Dirs: dirs.Dirs{State: host}, Instance: "abcdefgh", Program: program, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() {
		if err := d.Sweep(context.Background(), nil); err != nil { // the test's own context has ended
			t.Error(err)
		}
		_ = d.Close() // which has nothing to fail
	})
	return d
}

// withNetd is a driver with the process that it has when it is shipped.
func withNetd(t *testing.T, host string) *Driver {
	t.Helper()
	d := New(Options{Verbs: verbs(t, host), Publisher: packets(t, host), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() { _ = d.Close() }) // which has nothing to fail
	return d
}

// TestRedirectsFollowNetd kills it. Another one listens where it did; or, where somebody else does so before it, elsewhere,
// and the rules lead there.
func TestRedirectsFollowNetd(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	d := withNetd(t, host)
	id := model.NewVMID()
	link, err := d.Set(t.Context(), id, network.Spec{Slot: 1, Kind: network.LinkTap, Name: "box", Policy: "public", HostPorts: []uint16{5432}})
	if err != nil {
		t.Fatal(err)
	}
	redirects := func() []model.Redirect {
		told, _ := d.told.get(id)
		return told.rules.Redirects
	}
	kill := func() {
		t.Helper()
		pid, err := procs.LockHolder(filepath.Join(host, "netd.lock"))
		if err != nil || pid == 0 {
			t.Fatalf("netd is %d, %v", pid, err)
		}
		p, err := procs.Of(pid)
		if err != nil {
			t.Fatal(err)
		}
		h, err := procs.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	answers := func() bool { // that it hangs up on who is no VM
		c, err := net.Dial("tcp4", netip.AddrPortFrom(link.Gateway, redirects()[0].To).String())
		if err == nil {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, err = c.Read(make([]byte, 1))
		}
		return errors.Is(err, syscall.ECONNRESET)
	}
	eventually := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	first := redirects()
	if len(first) != 4 || !answers() {
		t.Fatalf("nobody is behind %+v", first)
	}
	kill()
	eventually("nobody answers again", answers)
	if again := redirects(); !slices.Equal(again, first) {
		t.Errorf("%+v became %+v", first, again)
	}
	kill()
	l, err := net.Listen("tcp4", netip.AddrPortFrom(link.Gateway, first[0].To).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	eventually("the rules lead to somebody else", func() bool { return redirects()[0].To != first[0].To })
	eventually("nobody answers elsewhere", answers)
	if moved := redirects(); len(moved) != 4 || moved[2] != first[2] {
		t.Errorf("%+v became %+v", first, moved)
	}
}

func TestConformanceWithNetd(t *testing.T) {
	networktest.Run(t, networktest.Harness{
		New:    func(t *testing.T, host string) network.Driver { return withNetd(t, host) },
		Policy: "public", Ports: true, Explains: true,
		Has: func(t *testing.T, host string, id model.VMID) bool { return attached(t, host, id) },
	})
}
