package vm

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"syscall"

	"banger/internal/model"
)

// firstUnprivileged is the lowest port that any user may take, on a host that says nothing else.
const firstUnprivileged = 1024

// AddPort publishes a port of a VM on the host, at once when it runs, and returns it with the host's port that was taken.
func (s *Service) AddPort(ctx context.Context, id model.VMID, f model.PortForward) (model.PortForward, error) {
	added := f
	err := s.change(ctx, id, func(v *model.VM, ports []model.Port) ([]model.Port, error) {
		d, err := s.network(v.Network)
		if err != nil {
			return nil, err
		}
		// What appeared by itself makes way for the same port, asked for.
		ports = slices.DeleteFunc(ports, func(p model.Port) bool {
			return p.Auto && p.GuestPort == f.GuestPort && p.UDP == f.UDP
		})
		for _, p := range ports {
			if p.Overlaps(f) && !(p.Auto && direct(d)) { // which is none of the host's
				return nil, model.Errorf(model.ErrExists, "cannot publish %s: port %d of the host is where port %d of %s is; choose another, or 0 for any free one",
					f, f.HostPort, p.GuestPort, v.Name)
			}
			if p.PortForward == f {
				return nil, model.Errorf(model.ErrExists, "%s publishes %s already", v.Name, f)
			}
		}
		if !holds(s.entry(id).currentPorts(), f) {
			if err := s.portsAreFree([]model.PortForward{f}, chooseAnother); err != nil {
				return nil, err
			}
		}
		v.Spec.Ports = append(v.Spec.Ports, f)
		// The ports that are asked for stand before the others, in the order of the spec.
		at := len(v.Spec.Ports) - 1
		return slices.Insert(ports, min(at, len(ports)), model.Port{PortForward: f}), nil
	})
	if err != nil {
		return added, err
	}
	for _, p := range s.entry(id).currentPorts() {
		if !p.Auto && p.GuestPort == f.GuestPort && p.UDP == f.UDP && p.HostIP == f.HostIP && (f.HostPort == 0 || p.HostPort == f.HostPort) {
			added = p.PortForward
		}
	}
	return added, nil
}

func holds(ports []model.Port, f model.PortForward) bool {
	return slices.ContainsFunc(ports, func(p model.Port) bool { return p.Overlaps(f) })
}

// RemovePort takes published ports of a VM away: those of that guest port, and of that host port where it is not 0.
func (s *Service) RemovePort(ctx context.Context, id model.VMID, guestPort, hostPort uint16, udp bool) ([]model.PortForward, error) {
	var gone []model.PortForward
	err := s.change(ctx, id, func(v *model.VM, ports []model.Port) ([]model.Port, error) {
		gone = nil
		var kept []model.Port
		var spec []model.PortForward
		asked := 0 // how many of the spec's have passed: they stand first, in its order
		for _, p := range ports {
			match := p.GuestPort == guestPort && p.UDP == udp && (hostPort == 0 || p.HostPort == hostPort)
			if match && !p.Auto {
				gone = append(gone, p.PortForward)
			} else {
				kept = append(kept, p)
				if !p.Auto {
					spec = append(spec, v.Spec.Ports[asked])
				}
			}
			if !p.Auto {
				asked++
			}
		}
		if len(gone) == 0 {
			return nil, noSuchPort(v.Name, ports, guestPort, udp)
		}
		v.Spec.Ports = spec
		return kept, nil
	})
	if err != nil {
		return gone, err
	}
	if err := s.replaceRemoved(ctx, id); err != nil {
		// What was asked for is done, and the guest's next word about its listeners brings the rest.
		s.Log.Warn("cannot have automatic ports take the place of removed ones", "vm", string(id), "error", err)
	}
	return gone, nil
}

// replaceRemoved brings the automatic ports back for which published ones stood.
func (s *Service) replaceRemoved(ctx context.Context, id model.VMID) error {
	e := s.entry(id)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Teardown)
	defer cancel()
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	return s.followAgain(ctx, e)
}

func noSuchPort(name string, ports []model.Port, guestPort uint16, udp bool) error {
	for _, p := range ports {
		if p.Auto && p.GuestPort == guestPort {
			return model.Errorf(model.ErrState, "cannot remove port %d of %s: it is there because the guest listens, and goes with that", guestPort, name)
		}
	}
	for _, p := range ports {
		if !p.Auto && p.HostPort == guestPort && p.UDP == udp {
			return model.Errorf(model.ErrNotFound, "cannot remove port %d of %s: that is the host's side of a port, and the guest's is meant; run: banger vm port remove %s %s",
				guestPort, name, name, toRemove(p.PortForward))
		}
	}
	return model.Errorf(model.ErrNotFound, "cannot remove port %d of %s: it publishes no such port of the guest; name it as GUEST or [IP:]HOST:GUEST, as listed by: banger vm port list %s",
		guestPort, name, name)
}

// toRemove is a port as vm port remove takes it.
func toRemove(f model.PortForward) string {
	text := strconv.Itoa(int(f.HostPort)) + ":" + strconv.Itoa(int(f.GuestPort))
	if f.UDP {
		text += "/udp"
	}
	return text
}

// wayOut says what helps when somebody else has a port.
type wayOut func(model.PortForward) string

func chooseAnother(model.PortForward) string { return "choose another port, or 0 for any free one" }

// republish is the way out of a VM that is there and wants the port.
func republish(v model.VM) wayOut {
	return func(f model.PortForward) string {
		free := f
		free.HostPort = 0
		return "free it, or publish at any other: banger vm port remove " + v.Name + " " + toRemove(f) + "; banger vm port add " + v.Name + " " + toAdd(free)
	}
}

// toAdd is a port as vm port add takes it, with the address where it is not the usual one.
func toAdd(f model.PortForward) string {
	if f.HostIP == model.Loopback() {
		return toRemove(f)
	}
	return f.String()
}

// portsAreFree tries the host's ports, so that one that cannot be had is told before anything is made for it.
func (s *Service) portsAreFree(ports []model.PortForward, way wayOut) error {
	for _, f := range ports {
		if f.HostPort == 0 {
			continue
		}
		if err := tryPort(f); err != nil {
			return s.portError(f, err, way)
		}
	}
	return nil
}

func tryPort(f model.PortForward) error {
	if f.UDP {
		c, err := net.ListenPacket("udp", f.Host())
		if err == nil {
			c.Close()
		}
		return err
	}
	l, err := net.Listen("tcp", f.Host())
	if err == nil {
		l.Close()
	}
	return err
}

func (s *Service) portError(f model.PortForward, err error, way wayOut) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		holder := "another program of the host has it"
		if name := s.portHolder(f); name != "" {
			holder = "VM " + name + " has it"
		}
		return model.Errorf(model.ErrExists, "cannot publish port %d of the guest at %s: %s; %s", f.GuestPort, f.Host(), holder, way(f))
	case errors.Is(err, syscall.EACCES):
		free := strconv.Itoa(int(f.HostPort) + 8000)
		return model.Errorf(model.ErrDenied, "cannot publish port %d of the guest at %s: ports below %d are root's on this host; choose another, such as -p %s:%d",
			f.GuestPort, f.Host(), firstUnprivileged, free, f.GuestPort)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return model.Errorf(model.ErrInvalid, "cannot publish port %d of the guest at %s: this host has no address %s", f.GuestPort, f.Host(), f.HostIP)
	}
	return model.HostErrorf(err, "cannot publish port %d of the guest at %s", f.GuestPort, f.Host())
}

// portHolder is the name of the VM that has a port of the host.
func (s *Service) portHolder(f model.PortForward) string {
	s.mu.Lock()
	entries := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		entries = append(entries, e)
	}
	s.mu.Unlock()
	for _, e := range entries {
		if !holds(e.currentPorts(), f) {
			continue
		}
		if v, err := s.Store.VM(s.ctx, e.id); err == nil {
			return v.Name
		}
	}
	return ""
}
