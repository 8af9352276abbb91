package server

import (
	"context"
	"net/netip"

	"google.golang.org/protobuf/types/known/timestamppb"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/vm"
)

// Networks is the part of the VM service that changes and explains networks, as *vm.Service has it.
type Networks interface {
	SetNetwork(ctx context.Context, id model.VMID, change vm.NetworkChange) error
	AddPort(ctx context.Context, id model.VMID, f model.PortForward) (model.PortForward, error)
	RemovePort(ctx context.Context, id model.VMID, guestPort, hostPort uint16, udp bool) ([]model.PortForward, error)
	WatchPorts(ctx context.Context, id model.VMID, report func([]model.Port) error) error
	Get(ctx context.Context, id model.VMID) (vm.View, error)
	Denied(ctx context.Context, id model.VMID) ([]model.Denial, error)
	Check(ctx context.Context, id model.VMID, destination string, udp bool) (model.Verdict, error)
}

type networkService struct{ vms Networks }

func (s *networkService) SetNetwork(ctx context.Context, r *bangerv1.SetNetworkRequest) (*bangerv1.SetNetworkResponse, error) {
	opened, err := hostPorts(r.GetOpenHostPorts())
	if err != nil {
		return nil, err
	}
	closed, err := hostPorts(r.GetCloseHostPorts())
	if err != nil {
		return nil, err
	}
	change := vm.NetworkChange{Policy: r.GetPolicy(), OpenHostPorts: opened, CloseHostPorts: closed}
	return &bangerv1.SetNetworkResponse{}, s.vms.SetNetwork(ctx, model.VMID(r.GetId()), change)
}

func (s *networkService) AddPort(ctx context.Context, r *bangerv1.AddPortRequest) (*bangerv1.AddPortResponse, error) {
	f, err := portForward(r.GetPort())
	if err != nil {
		return nil, err
	}
	added, err := s.vms.AddPort(ctx, model.VMID(r.GetId()), f)
	if err != nil {
		return nil, err
	}
	return &bangerv1.AddPortResponse{Port: portMessage(model.Port{PortForward: added})}, nil
}

func (s *networkService) RemovePort(ctx context.Context, r *bangerv1.RemovePortRequest) (*bangerv1.RemovePortResponse, error) {
	if r.GetGuestPort() > 65535 || r.GetHostPort() > 65535 {
		return nil, model.Errorf(model.ErrInvalid, "a port is a number up to 65535")
	}
	gone, err := s.vms.RemovePort(ctx, model.VMID(r.GetId()), uint16(r.GetGuestPort()), uint16(r.GetHostPort()), r.GetUdp())
	if err != nil {
		return nil, err
	}
	res := &bangerv1.RemovePortResponse{}
	for _, f := range gone {
		res.Ports = append(res.Ports, portMessage(model.Port{PortForward: f}))
	}
	return res, nil
}

func (s *networkService) ListPorts(ctx context.Context, r *bangerv1.ListPortsRequest) (*bangerv1.ListPortsResponse, error) {
	view, err := s.vms.Get(ctx, model.VMID(r.GetId()))
	if err != nil {
		return nil, err
	}
	return &bangerv1.ListPortsResponse{Ports: portMessages(view.Ports)}, nil
}

func (s *networkService) WatchPorts(ctx context.Context, r *bangerv1.WatchPortsRequest, stream bangerv1connect.NetworkServiceWatchPortsServerStream) error {
	return s.vms.WatchPorts(ctx, model.VMID(r.GetId()), func(ports []model.Port) error {
		return stream.Send(&bangerv1.WatchPortsResponse{Ports: portMessages(ports)})
	})
}

func (s *networkService) Denied(ctx context.Context, r *bangerv1.DeniedRequest) (*bangerv1.DeniedResponse, error) {
	denials, err := s.vms.Denied(ctx, model.VMID(r.GetId()))
	if err != nil {
		return nil, err
	}
	res := &bangerv1.DeniedResponse{}
	for _, d := range denials {
		res.Denials = append(res.Denials, &bangerv1.Denial{
			Protocol: d.Protocol, Destination: d.Destination, Rule: d.Rule, Count: d.Count, Last: timestamppb.New(d.Last),
		})
	}
	return res, nil
}

func (s *networkService) Check(ctx context.Context, r *bangerv1.CheckRequest) (*bangerv1.CheckResponse, error) {
	v, err := s.vms.Check(ctx, model.VMID(r.GetId()), r.GetDestination(), r.GetUdp())
	if err != nil {
		return nil, err
	}
	return &bangerv1.CheckResponse{Allowed: v.Allowed, Rule: v.Rule, Addresses: v.Addresses}, nil
}

func portMessage(p model.Port) *bangerv1.Port {
	return &bangerv1.Port{
		HostIp: p.HostIP.String(), HostPort: uint32(p.HostPort), GuestPort: uint32(p.GuestPort), Udp: p.UDP, Auto: p.Auto, HostName: p.HostName,
	}
}

func portMessages(ports []model.Port) []*bangerv1.Port {
	var all []*bangerv1.Port
	for _, p := range ports {
		all = append(all, portMessage(p))
	}
	return all
}

// portForward checks what would be cut off by a conversion; the rest is the model's to validate.
func portForward(m *bangerv1.Port) (model.PortForward, error) {
	f := model.PortForward{HostIP: model.Loopback(), UDP: m.GetUdp()}
	if m.GetHostPort() > 65535 || m.GetGuestPort() > 65535 {
		return f, model.Errorf(model.ErrInvalid, "a port is a number up to 65535")
	}
	f.HostPort, f.GuestPort = uint16(m.GetHostPort()), uint16(m.GetGuestPort())
	if text := m.GetHostIp(); text != "" {
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			return f, model.Errorf(model.ErrInvalid, "%q is no address to publish a port at", text)
		}
		f.HostIP = ip.Unmap()
	}
	return f, nil
}

func portForwards(ms []*bangerv1.Port) ([]model.PortForward, error) {
	var all []model.PortForward
	for _, m := range ms {
		f, err := portForward(m)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

func hostPorts(numbers []uint32) ([]uint16, error) {
	var all []uint16
	for _, n := range numbers {
		if n == 0 || n > 65535 {
			return nil, model.Errorf(model.ErrInvalid, "%d is not a port of the host", n)
		}
		all = append(all, uint16(n))
	}
	return all, nil
}

func hostPortMessages(ports []uint16) []uint32 {
	var all []uint32
	for _, p := range ports {
		all = append(all, uint32(p))
	}
	return all
}
