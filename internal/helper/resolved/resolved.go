// Package resolved tells systemd-resolved whom to ask for the names below a domain.
//
// What it is told belongs to a device of the network: it remembers it over a restart of its own, and forgets it when the
// device goes. A host on which it does not run is left as it is: nothing is started there, and no file is changed.
package resolved

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/model"
)

// SystemBus is where the bus of the host's services is.
const SystemBus = "unix:path=/run/dbus/system_bus_socket"

const (
	service = "org.freedesktop.resolve1"
	path    = dbus.ObjectPath("/org/freedesktop/resolve1")
	manager = service + ".Manager."

	unknownMethod = "org.freedesktop.DBus.Error.UnknownMethod"
)

// Options say which systemd-resolved is meant.
type Options struct {
	Bus string // where it is found, in D-Bus's form; "" for the bus of the host's services

	// Beside says that it is started by the systemd that has started this process, in the host's network as this: that is
	// not looked at then. To look takes CAP_SYS_PTRACE.
	Beside bool
}

// Service is systemd-resolved, as one who has CAP_NET_ADMIN may use it.
type Service struct{ o Options }

// New returns the Service. It touches nothing.
func New(o Options) *Service {
	if o.Bus == "" {
		o.Bus = SystemBus
	}
	return &Service{o}
}

// Route is whom to ask for all names below a domain, and for nothing else.
type Route struct {
	Device int // its index; what is said goes with it
	Server netip.Addr
	Domain string
}

// The arguments of resolved's methods.
type (
	server struct {
		Family  int32
		Address []byte
	}
	domain struct {
		Name      string
		RouteOnly bool // it is no search domain
	}
)

// Running says whether it is there. That it is not is no error, nor that there is no bus.
func (s *Service) Running(ctx context.Context) bool {
	conn, err := s.dial(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	return s.sameNetwork(ctx, conn) == nil
}

// sameNetwork refuses a service that is not there, and one that knows the devices of another network namespace than ours,
// as where a container has its host's bus: what we call by a number is something else there.
func (s *Service) sameNetwork(ctx context.Context, conn *dbus.Conn) error {
	var pid uint32
	err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, service).Store(&pid)
	if absent(err) {
		return model.Errorf(model.ErrUnavailable, "systemd-resolved does not run")
	}
	if err == nil && s.o.Beside {
		return nil
	}
	var its, ours fs.FileInfo
	if err == nil {
		its, err = os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
	}
	if err == nil {
		ours, err = os.Stat("/proc/thread-self/ns/net")
	}
	switch {
	case err != nil:
		return model.Errorf(model.ErrUnavailable, "it cannot be told which network systemd-resolved has: %w", err)
	case !os.SameFile(its, ours):
		return model.Errorf(model.ErrUnavailable, "systemd-resolved has another network than this daemon")
	}
	return nil
}

// Tell has it ask so from now on. The error is an ErrUnavailable where it does not run; what was half told is taken back.
func (s *Service) Tell(ctx context.Context, r Route) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.sameNetwork(ctx, conn); err != nil {
		return err
	}
	index := int32(r.Device) // as large as the kernel's are
	object := conn.Object(service, path)
	call := func(method string, args ...any) error {
		return object.CallWithContext(ctx, manager+method, dbus.FlagNoAutoStart, append([]any{index}, args...)...).Err
	}
	crash.At("resolved.tell.before")
	// Whom to ask comes last: before, the device is one that no name is asked for on.
	for _, step := range []struct {
		method  string
		arg     any
		younger bool // than the oldest that is good enough
	}{
		{method: "SetLinkDomains", arg: []domain{{r.Domain, true}}},
		{method: "SetLinkDefaultRoute", arg: false, younger: true},
		{method: "SetLinkLLMNR", arg: "no"},
		{method: "SetLinkMulticastDNS", arg: "no"},
		{method: "SetLinkDNSOverTLS", arg: "no", younger: true},
		{method: "SetLinkDNSSEC", arg: "no"}, // nobody has signed the domain
		{method: "SetLinkDNS", arg: []server{{unix.AF_INET, r.Server.AsSlice()}}},
	} {
		err := call(step.method, step.arg)
		if step.younger && named(err, unknownMethod) {
			continue
		}
		if err != nil {
			crash.At("resolved.revert.before")
			rerr := ignoreAbsent(call("RevertLink"))
			crash.At("resolved.revert.after")
			return errors.Join(model.Errorf(model.ErrUnavailable, "systemd-resolved does not take it (%s): %w", step.method, err), rerr)
		}
		crash.At("resolved.tell.step")
	}
	crash.At("resolved.tell.after")
	return nil
}

// Told says whether it asks so.
func (s *Service) Told(ctx context.Context, r Route) (bool, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	var at dbus.ObjectPath
	index := int32(r.Device) // as large as the kernel's are
	err = conn.Object(service, path).CallWithContext(ctx, manager+"GetLink", dbus.FlagNoAutoStart, index).Store(&at)
	if err != nil {
		return false, ignoreAbsent(err)
	}
	var domains []domain
	var servers []server
	for property, to := range map[string]any{"Domains": &domains, "DNS": &servers} {
		var value dbus.Variant
		err := conn.Object(service, at).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, service+".Link", property).Store(&value)
		if err == nil {
			err = value.Store(to)
		}
		if err != nil {
			return false, err
		}
	}
	return slices.Contains(domains, domain{r.Domain, true}) &&
		slices.ContainsFunc(servers, func(o server) bool { return slices.Equal(o.Address, r.Server.AsSlice()) }), nil
}

// dial connects to the bus, until ctx ends.
func (s *Service) dial(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.Connect(s.o.Bus, dbus.WithContext(ctx))
	if err != nil {
		return nil, model.Errorf(model.ErrUnavailable, "systemd-resolved cannot be told without a D-Bus: %w", err)
	}
	return conn, nil
}

func named(err error, names ...string) bool {
	var e dbus.Error
	return errors.As(err, &e) && slices.Contains(names, e.Name)
}

// absent says whether an error is the bus's, that there is no such service.
func absent(err error) bool {
	return named(err, "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
}

func ignoreAbsent(err error) error {
	if absent(err) {
		return nil
	}
	return err
}
