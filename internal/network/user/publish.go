package user

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	netdv1 "banger/api/netd/v1"
	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/network"
)

// Publish has netd do what there is to do for a VM whose packets another driver's kernel carries: it outlives the daemon,
// and is an ordinary process of the user's. It becomes this. A port for any free one of the host keeps the one that it has,
// and redirects lead to where they led, as long as netd can listen there. When it fails, nothing has changed.
func (d *Driver) Publish(ctx context.Context, id model.VMID, p network.Direct) (network.Published, error) {
	port := &netdv1.Port{
		VmId: string(id), Name: p.Name, Address: p.Address.String(), Gateway: p.Gateway.String(), Policy: p.Policy,
		Direct: true, Forwards: forwardMessages(p.Ports),
	}
	for _, number := range p.HostPorts {
		port.HostPorts = append(port.HostPorts, uint32(number))
	}
	d.setting.Lock()
	defer d.setting.Unlock()
	d.keepHostPorts(id, port)
	port.Doors = d.doors(id)
	crash.At("user.publish.before")
	answer, err := d.tell(ctx, port)
	if err != nil {
		return network.Published{}, err
	}
	crash.At("user.publish.after")
	there := network.Published{}
	if there.Ports, err = forwardsOf(answer.GetForwards(), p.Ports); err != nil {
		return network.Published{}, err
	}
	if there.Redirects, err = redirectsOf(answer.GetDoors()); err != nil {
		return network.Published{}, err
	}
	port.Forwards, port.Doors = answer.GetForwards(), answer.GetDoors()
	d.mu.Lock()
	d.ports[id] = port
	d.mu.Unlock()
	return there, nil
}

// doors are those that a VM's redirects lead to.
func (d *Driver) doors(id model.VMID) []*netdv1.Door {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ports[id].GetDoors()
}

// redirectsOf are the rules that lead to doors.
func redirectsOf(doors []*netdv1.Door) ([]model.Redirect, error) {
	var all []model.Redirect
	for _, m := range doors {
		if m.GetPort() == 0 || m.GetPort() > 65535 || m.GetAt() == 0 || m.GetAt() > 65535 {
			return nil, model.Errorf(model.ErrUnavailable, "cannot have a VM use port %d of its gateway: banger-netd says that this is its port %d", m.GetPort(), m.GetAt())
		}
		for _, udp := range []bool{false, true} {
			all = append(all, model.Redirect{UDP: udp, Port: uint16(m.GetPort()), To: uint16(m.GetAt())})
		}
	}
	return all, nil
}

// Watch has moved called when redirects of a VM's lead nowhere any more, since another netd listens elsewhere: it is to be
// published again. It must not wait for that.
func (d *Driver) Watch(moved func(id model.VMID)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.moved = moved
}

// remember takes over what another netd made of a port.
func (d *Driver) remember(p *netdv1.Port, answer *netdv1.SetResponse) {
	if !p.GetDirect() || slices.EqualFunc(p.GetDoors(), answer.GetDoors(), func(a, b *netdv1.Door) bool { return proto.Equal(a, b) }) {
		return
	}
	id := model.VMID(p.GetVmId())
	d.mu.Lock()
	moved := d.moved
	if d.ports[id] == p { // and not another one since
		p = proto.CloneOf(p)
		p.Doors = answer.GetDoors()
		d.ports[id] = p
	}
	d.mu.Unlock()
	if moved != nil {
		moved(id)
	}
}

// Withdraw does nothing for such a VM any more. That nothing is done is success.
func (d *Driver) Withdraw(ctx context.Context, id model.VMID) error {
	d.setting.Lock()
	defer d.setting.Unlock()
	crash.At("user.withdraw.before")
	err := d.forget(ctx, id)
	crash.At("user.withdraw.after")
	return err
}

// Explain lists what was refused to such a VM, newest first: by the kernel, which knows no rules, and by netd.
func (d *Driver) Explain(ctx context.Context, id model.VMID, refused []model.Denial) ([]model.Denial, error) {
	var all []*netdv1.Denial
	for _, r := range refused {
		all = append(all, &netdv1.Denial{Protocol: r.Protocol, Destination: r.Destination, Count: r.Count, Last: timestamppb.New(r.Last)})
	}
	return d.denied(ctx, &netdv1.DeniedRequest{VmId: string(id), Refused: all})
}

// denied asks what was refused.
func (d *Driver) denied(ctx context.Context, r *netdv1.DeniedRequest) ([]model.Denial, error) {
	var all []model.Denial
	err := d.ask(ctx, "cannot ask what was refused", func(ctx context.Context, n *netd) error {
		answer, err := n.rpc.Denied(ctx, r)
		for _, m := range answer.GetDenials() {
			all = append(all, model.Denial{
				Protocol: m.GetProtocol(), Destination: m.GetDestination(), Rule: m.GetRule(), Count: m.GetCount(), Last: m.GetLast().AsTime(),
			})
		}
		return err
	})
	return all, err
}
