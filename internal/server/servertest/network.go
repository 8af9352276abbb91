package servertest

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"banger/internal/model"
	"banger/internal/vm"
)

// edit changes a VM's row, if it is there, and notes the call.
func (s *VMs) edit(call string, id model.VMID, change func(v *vm.View) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rows {
		if s.rows[i].ID == id {
			s.note(call + " " + s.rows[i].Name)
			return change(&s.rows[i])
		}
	}
	return model.Errorf(model.ErrNotFound, "there is no VM %q; see: banger vm list", id)
}

// Get returns one VM.
func (s *VMs) Get(_ context.Context, id model.VMID) (vm.View, error) {
	var view vm.View
	err := s.edit("get", id, func(v *vm.View) error { view = *v; return nil })
	return view, err
}

// SetNetwork changes the row.
func (s *VMs) SetNetwork(_ context.Context, id model.VMID, c vm.NetworkChange) error {
	return s.edit(strings.TrimSpace("set "+c.Policy), id, func(v *vm.View) error {
		if c.Policy != "" {
			v.Spec.Network = c.Policy
		}
		v.Spec.HostPorts = slices.DeleteFunc(v.Spec.HostPorts, func(p uint16) bool { return slices.Contains(c.CloseHostPorts, p) })
		v.Spec.HostPorts = append(v.Spec.HostPorts, c.OpenHostPorts...)
		return nil
	})
}

// AddPort adds a port to the row; any free one is 40000.
func (s *VMs) AddPort(_ context.Context, id model.VMID, f model.PortForward) (model.PortForward, error) {
	if f.HostPort == 0 {
		f.HostPort = 40000
	}
	err := s.edit("port-add "+f.String(), id, func(v *vm.View) error {
		v.Ports = append(v.Ports, model.Port{PortForward: f})
		return nil
	})
	return f, err
}

// RemovePort removes ports from the row.
func (s *VMs) RemovePort(_ context.Context, id model.VMID, guestPort, hostPort uint16, udp bool) ([]model.PortForward, error) {
	var gone []model.PortForward
	err := s.edit("port-remove", id, func(v *vm.View) error {
		v.Ports = slices.DeleteFunc(v.Ports, func(p model.Port) bool {
			match := p.GuestPort == guestPort && p.UDP == udp && (hostPort == 0 || hostPort == p.HostPort)
			if match {
				gone = append(gone, p.PortForward)
			}
			return match
		})
		return nil
	})
	if err == nil && gone == nil {
		err = model.Errorf(model.ErrNotFound, "there is no such port")
	}
	return gone, err
}

// Appear makes a port that a guest began to listen on.
func (s *VMs) Appear(id model.VMID, port uint16) {
	_ = s.edit("appear", id, func(v *vm.View) error {
		v.Ports = append(v.Ports, model.Port{PortForward: model.PortForward{HostIP: model.Loopback(), HostPort: port, GuestPort: port}, Auto: true})
		return nil
	})
}

// AppearAt makes one where a host that needs nothing published finds it.
func (s *VMs) AppearAt(id model.VMID, address netip.Addr, hostName string, port uint16) {
	_ = s.edit("appear", id, func(v *vm.View) error {
		f := model.PortForward{HostIP: address, HostPort: port, GuestPort: port}
		v.Ports = append(v.Ports, model.Port{PortForward: f, Auto: true, HostName: hostName})
		return nil
	})
}

// WatchPorts reports the row's ports after each change of anything.
func (s *VMs) WatchPorts(ctx context.Context, id model.VMID, report func([]model.Port) error) error {
	var told []model.Port
	for first := true; ; first = false {
		s.mu.Lock()
		changed := s.changed
		var now []model.Port
		for _, v := range s.rows {
			if v.ID == id {
				now = slices.Clone(v.Ports)
			}
		}
		s.mu.Unlock()
		if first || !slices.Equal(now, told) {
			if err := report(now); err != nil {
				return err
			}
			told = now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Denied tells of one refusal.
func (s *VMs) Denied(_ context.Context, id model.VMID) ([]model.Denial, error) {
	return []model.Denial{{
		Protocol: "tcp", Destination: "10.0.0.1:22", Rule: "private addresses", Count: 3, Last: time.Now(),
	}}, s.edit("denied", id, func(*vm.View) error { return nil })
}

// Check allows one destination.
func (s *VMs) Check(_ context.Context, id model.VMID, destination string, _ bool) (model.Verdict, error) {
	v := model.Verdict{Allowed: destination == "example.org:443", Rule: "public", Addresses: []string{"192.0.2.1"}}
	return v, s.edit("check "+destination, id, func(*vm.View) error { return nil })
}
