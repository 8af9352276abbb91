package resolved_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/helper/resolved"
	"banger/internal/helper/resolved/resolvedtest"
	"banger/internal/model"
)

// route is one over a device that every namespace has.
func route(t *testing.T) resolved.Route {
	t.Helper()
	r, err := loopback()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func loopback() (resolved.Route, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return resolved.Route{}, err
	}
	return resolved.Route{Device: lo.Index, Server: netip.MustParseAddr("198.18.0.1"), Domain: "vm"}, nil
}

func TestTell(t *testing.T) {
	t.Parallel()
	bus := resolvedtest.Bus(t)
	fake := resolvedtest.Start(t, bus)
	s, r := resolved.New(resolved.Options{Bus: bus}), route(t)
	told := func(want bool) {
		t.Helper()
		if is, err := s.Told(t.Context(), r); is != want || err != nil {
			t.Errorf("told: %v, %v; want %v", is, err, want)
		}
	}
	if !s.Running(t.Context()) {
		t.Error("it is not seen to run")
	}
	told(false)
	for range 2 {
		if err := s.Tell(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		l, _ := fake.Link(r.Device)
		if !slices.Equal(l.Domains, []string{"~vm"}) || !slices.Equal(l.Servers, []netip.Addr{r.Server}) || l.DefaultRoute {
			t.Errorf("told %+v", l)
		}
		for _, name := range []string{"LLMNR", "MulticastDNS", "DNSOverTLS", "DNSSEC"} {
			if l.Settings[name] != "no" {
				t.Errorf("%s is %q", name, l.Settings[name])
			}
		}
		told(true)
	}
	if fake.Early() {
		t.Error("for a moment, other names were asked for there too")
	}
	other := r
	other.Server = netip.MustParseAddr("198.18.4.1")
	if is, err := s.Told(t.Context(), other); is || err != nil {
		t.Errorf("another server: %v, %v", is, err)
	}
}

// TestTellAnOldOne has one of 2018, which knows fewer settings.
func TestTellAnOldOne(t *testing.T) {
	t.Parallel()
	bus := resolvedtest.Bus(t)
	fake := resolvedtest.Start(t, bus)
	for _, method := range []string{"SetLinkDefaultRoute", "SetLinkDNSOverTLS"} {
		fake.Fail(method, "org.freedesktop.DBus.Error.UnknownMethod")
	}
	r := route(t)
	if err := resolved.New(resolved.Options{Bus: bus}).Tell(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if l, _ := fake.Link(r.Device); len(l.Servers) != 1 {
		t.Errorf("told %+v", l)
	}
}

func TestWhatItDoesNotTakeIsTakenBack(t *testing.T) {
	t.Parallel()
	bus := resolvedtest.Bus(t)
	fake := resolvedtest.Start(t, bus)
	r := route(t)
	for _, method := range []string{"SetLinkDomains", "SetLinkDefaultRoute", "SetLinkDNSSEC", "SetLinkDNS"} {
		fake.Fail(method, "org.freedesktop.resolve1.LinkBusy")
		if err := resolved.New(resolved.Options{Bus: bus}).Tell(t.Context(), r); !errors.Is(err, model.ErrUnavailable) {
			t.Errorf("%s: %v", method, err)
		}
		if l, told := fake.Link(r.Device); told {
			t.Errorf("%s: left %+v", method, l)
		}
		fake.Fail(method, "")
	}
	r.Device = 1 << 20
	if err := resolved.New(resolved.Options{Bus: bus}).Tell(t.Context(), r); err == nil {
		t.Error("it was told of a device that there is not")
	}
}

// TestAnotherNetworks has the bus of a host be seen from a network of its own, as containers may: devices have other
// numbers there.
func TestAnotherNetworks(t *testing.T) {
	t.Parallel()
	bus := resolvedtest.Bus(t)
	fake := resolvedtest.Start(t, bus)
	r := route(t)
	var err error
	onAnotherThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		s := resolved.New(resolved.Options{Bus: bus})
		if s.Running(context.Background()) {
			t.Error("it is seen to run")
		}
		if err := s.Tell(context.Background(), r); !errors.Is(err, model.ErrUnavailable) {
			t.Errorf("it is told: %v", err)
		}
	})
	if err != nil {
		t.Skipf("not run: needs namespaces: %v", err)
	}
	if fake.Calls() != 0 {
		t.Error("it was called")
	}
}

// onAnotherThread runs f on a thread that ends with it, and is not the first one, by whose namespaces others know this
// process.
func onAnotherThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			onAnotherThread(f) // while this one is held
		} else {
			f()
		}
		close(done)
	}()
	<-done
}

// TestWhereItDoesNotRun starts nothing, waits for nothing, and says so.
func TestWhereItDoesNotRun(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("unix", t.TempDir()+"/mute")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	for name, bus := range map[string]string{
		"no resolved":             resolvedtest.Bus(t),
		"no bus":                  "unix:path=" + os.DevNull + "/bus",
		"a bus that says nothing": "unix:path=" + mute.Addr().String(),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		s := resolved.New(resolved.Options{Bus: bus})
		if s.Running(ctx) {
			t.Errorf("%s: it is seen to run", name)
		}
		if err := s.Tell(ctx, route(t)); !errors.Is(err, model.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
