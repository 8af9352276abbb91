package netcall

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"slices"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/resolved"
	"banger/internal/helper/serve"
	"banger/internal/model"
	"banger/internal/turns"
)

// Host has the verbs. Only Recycle, and those that change nothing, are called while another is.
type Host interface {
	Problem() string
	Attach(ctx context.Context, id model.VMID, slot int, want hostnet.Rules) (hostnet.Port, error)
	PinAddresses(ctx context.Context, id model.VMID, slot int, p hostnet.Pin) error
	Open(ctx context.Context, id model.VMID) (*os.File, error)
	Detach(ctx context.Context, id model.VMID) error
	Sweep(ctx context.Context, keep map[model.VMID]bool) error
	Recycle(ctx context.Context) error
	Prepare(ctx context.Context) error
	List(ctx context.Context) (hostnet.Found, error)
	Denials(ctx context.Context, id model.VMID) ([]hostnet.Denial, error)
	Obstacles(ctx context.Context) ([]hostnet.Obstacle, error)
	ListenNames(ctx context.Context) (hostnet.Sockets, error)
	TellResolved(ctx context.Context) error
	LookNames(ctx context.Context) (hostnet.Names, error)
}

// OnHost is this host's kernel as a caller's installation may use it. It is for a service of systemd's.
func OnHost(c serve.Caller) Host {
	return hostnet.New(hostnet.Options{Instance: c.Instance, UID: c.UID, Resolved: resolved.Options{Beside: true}})
}

const (
	page          = 256 // ports that one answer tells of: a message holds them, whatever the names are
	mostKept      = 2 * hostnet.MaxSlot
	mostObstacles = 32 // of names of at most 600 bytes, with a command that has them twice
	mostLeft      = 256
)

// Verbs are the service's, done by what hosts gives for a caller. Changes of one installation wait for each other: they
// share a bridge and tables. What is recycled is nobody's, and nobody waits for it.
func Verbs(hosts func(serve.Caller) Host) []serve.Verb {
	s := &service{hosts: hosts}
	return []serve.Verb{
		serve.On(0, s.check),
		serve.On(0, s.attach),
		serve.On(0, s.pin),
		serve.Handing(s.open),
		serve.On(0, s.detach),
		serve.On(0, s.sweep),
		serve.On(0, s.recycle),
		serve.On(0, s.prepare),
		serve.On(0, s.list),
		serve.On(0, s.denials),
		serve.On(0, s.obstacles),
		serve.Handing(s.listenNames),
		serve.On(0, s.tellResolved),
		serve.On(0, s.lookNames),
	}
}

type service struct {
	hosts func(serve.Caller) Host
	turns turns.Of[model.InstanceID]
}

func (s *service) check(_ context.Context, c serve.Caller, _ *helperv1.CheckNetworkRequest, _ []*os.File) (*helperv1.CheckNetworkResponse, error) {
	return &helperv1.CheckNetworkResponse{Problem: s.hosts(c).Problem()}, nil
}

func (s *service) attach(ctx context.Context, c serve.Caller, r *helperv1.AttachPortRequest, _ []*os.File) (*helperv1.AttachPortResponse, error) {
	id, err := serve.VM(r.GetVm())
	if err != nil {
		return nil, err
	}
	want, err := rules(r)
	if err != nil {
		return nil, err
	}
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, err
	}
	defer done()
	port, err := s.hosts(c).Attach(ctx, id, int(r.GetSlot()), want)
	return &helperv1.AttachPortResponse{Port: toWire(port)}, err
}

func (s *service) open(ctx context.Context, c serve.Caller, r *helperv1.OpenTapRequest) (*helperv1.OpenTapResponse, []*os.File, error) {
	id, err := serve.VM(r.GetVm())
	if err != nil {
		return nil, nil, err
	}
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	tap, err := s.hosts(c).Open(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return &helperv1.OpenTapResponse{}, []*os.File{tap}, nil
}

func (s *service) detach(ctx context.Context, c serve.Caller, r *helperv1.DetachPortRequest, _ []*os.File) (*helperv1.DetachPortResponse, error) {
	id, err := serve.VM(r.GetVm())
	if err != nil {
		return nil, err
	}
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.DetachPortResponse{}, s.hosts(c).Detach(ctx, id)
}

func (s *service) sweep(ctx context.Context, c serve.Caller, r *helperv1.SweepPortsRequest, _ []*os.File) (*helperv1.SweepPortsResponse, error) {
	if n := len(r.GetKeep()); n > mostKept {
		return nil, model.Errorf(model.ErrInvalid, "cannot keep the ports of %d VMs: there are at most %d", n, mostKept)
	}
	keep := map[model.VMID]bool{}
	for _, vm := range r.GetKeep() {
		id, err := serve.VM(vm)
		if err != nil {
			return nil, err
		}
		keep[id] = true
	}
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.SweepPortsResponse{}, s.hosts(c).Sweep(ctx, keep)
}

func (s *service) recycle(ctx context.Context, c serve.Caller, _ *helperv1.RecyclePortsRequest, _ []*os.File) (*helperv1.RecyclePortsResponse, error) {
	return &helperv1.RecyclePortsResponse{}, s.hosts(c).Recycle(ctx)
}

func (s *service) prepare(ctx context.Context, c serve.Caller, _ *helperv1.PreparePortsRequest, _ []*os.File) (*helperv1.PreparePortsResponse, error) {
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.PreparePortsResponse{}, s.hosts(c).Prepare(ctx)
}

func (s *service) list(ctx context.Context, c serve.Caller, r *helperv1.ListPortsRequest, _ []*os.File) (*helperv1.ListPortsResponse, error) {
	found, err := s.hosts(c).List(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found.Ports, inOrder)
	ports := found.Ports
	if r.GetAfter() != nil {
		after := hostnet.Port{ID: model.VMID(r.GetAfter().GetVm()), Slot: int(r.GetAfter().GetSlot())}
		at, there := slices.BinarySearchFunc(ports, after, inOrder)
		if there {
			at++
		}
		ports = ports[at:]
	}
	answer := &helperv1.ListPortsResponse{
		More: len(ports) > page, Bridge: found.Bridge, Tables: found.Tables,
		Spare: found.Spare, Left: found.Left[:min(mostLeft, len(found.Left))], Gateway: found.Gateway.AsSlice(),
	}
	for _, p := range ports[:min(page, len(ports))] {
		answer.Ports = append(answer.Ports, toWire(p))
	}
	return answer, nil
}

func inOrder(a, b hostnet.Port) int {
	return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID))
}

func (s *service) obstacles(ctx context.Context, c serve.Caller, _ *helperv1.ListObstaclesRequest, _ []*os.File) (*helperv1.ListObstaclesResponse, error) {
	all, err := s.hosts(c).Obstacles(ctx)
	if err != nil {
		return nil, err
	}
	n := min(mostObstacles, len(all))
	answer := &helperv1.ListObstaclesResponse{More: uint32(len(all) - n)}
	for _, o := range all[:n] {
		answer.Obstacles = append(answer.Obstacles, o.Chain)
		answer.Fixes = append(answer.Fixes, o.Fix)
	}
	return answer, nil
}

// rules are those that were asked for, in no other words than the model's own.
func rules(r *helperv1.AttachPortRequest) (hostnet.Rules, error) {
	policy, err := model.ParsePolicy(r.GetPolicy())
	if err != nil {
		return hostnet.Rules{}, err
	}
	if policy.String() != r.GetPolicy() {
		return hostnet.Rules{}, model.Errorf(model.ErrInvalid, "cannot take the policy %.64q: it is written otherwise", r.GetPolicy())
	}
	want := hostnet.Rules{Policy: policy, Wire: r.GetWire()}
	for _, d := range r.GetRedirects() {
		if d.GetPort() > 65535 || d.GetTo() > 65535 {
			return hostnet.Rules{}, model.Errorf(model.ErrInvalid, "cannot have port %d lead to port %d: ports are 1 to 65535", d.GetPort(), d.GetTo())
		}
		want.Redirects = append(want.Redirects, model.Redirect{UDP: d.GetUdp(), Port: uint16(d.GetPort()), To: uint16(d.GetTo())})
	}
	return want, nil
}

func toWire(p hostnet.Port) *helperv1.Port {
	return &helperv1.Port{
		Vm: string(p.ID), Slot: uint32(p.Slot), Tap: p.Tap, Ruled: p.Ruled, Mac: p.MAC,
		Address: p.Address.AsSlice(), Gateway: p.Gateway.AsSlice(), Mtu: uint32(p.MTU),
	}
}

func fromWire(p *helperv1.Port) hostnet.Port {
	address, _ := netip.AddrFromSlice(p.GetAddress())
	gateway, _ := netip.AddrFromSlice(p.GetGateway())
	return hostnet.Port{
		ID: model.VMID(p.GetVm()), Slot: int(p.GetSlot()), Tap: p.GetTap(), Ruled: p.GetRuled(), MAC: p.GetMac(),
		Address: address, Gateway: gateway, MTU: int(p.GetMtu()),
	}
}
