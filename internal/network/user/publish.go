package user

import (
	"context"
	"net/netip"

	netdv1 "banger/api/netd/v1"
	"banger/internal/model"
)

// Publish has ports of a VM published whose packets another driver's kernel carries, from netd's process: it outlives the
// daemon, and is an ordinary one of the user's. They become these, in this order, and are returned with the host's ports
// that were taken; one for any free port of the host keeps the one that it has. When it fails, nothing has changed.
func (d *Driver) Publish(ctx context.Context, id model.VMID, name string, guest netip.Addr, ports []model.PortForward) ([]model.PortForward, error) {
	if len(ports) == 0 {
		return nil, d.Withdraw(ctx, id)
	}
	port := &netdv1.Port{VmId: string(id), Name: name, Address: guest.String(), Direct: true, Forwards: forwardMessages(ports)}
	d.setting.Lock()
	defer d.setting.Unlock()
	d.keepHostPorts(id, port)
	answer, err := d.tell(ctx, port)
	if err != nil {
		return nil, err
	}
	taken, err := forwardsOf(answer.GetForwards(), ports)
	if err != nil {
		return nil, err
	}
	port.Forwards = answer.GetForwards()
	d.mu.Lock()
	d.ports[id] = port
	d.mu.Unlock()
	return taken, nil
}

// Withdraw publishes nothing of such a VM any more. That nothing is published is success.
func (d *Driver) Withdraw(ctx context.Context, id model.VMID) error {
	d.setting.Lock()
	defer d.setting.Unlock()
	return d.forget(ctx, id)
}
