package bridge

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
)

// Publisher has ports of VMs on the host, beyond the daemon's life. What fails there has changed nothing.
type Publisher interface {
	// Publish makes the ports of a VM these, and returns them in their order, with the host's ports that were taken.
	Publish(ctx context.Context, id model.VMID, name string, guest netip.Addr, ports []model.PortForward) ([]model.PortForward, error)
	// Withdraw takes them away; that there are none is success.
	Withdraw(ctx context.Context, id model.VMID) error
}

// attach makes the port as it is wanted, and publishes what is. When it fails, all is as it was.
func (d *Driver) attach(ctx context.Context, id model.VMID, s network.Spec, want hostnet.Rules) (hostnet.Port, []model.PortForward, error) {
	before, _, unknown := d.told.of(id)
	there := unknown == nil
	if !there && len(s.Ports) > 0 {
		found, err := d.o.Verbs.List(ctx)
		if err != nil {
			return hostnet.Port{}, nil, err
		}
		there = slices.ContainsFunc(found.Ports, func(p hostnet.Port) bool { return p.ID == id })
	}
	port, err := d.o.Verbs.Attach(ctx, id, s.Slot, want)
	if err != nil {
		return port, nil, err
	}
	ports, err := d.o.Publisher.Publish(ctx, id, s.Name, port.Address, s.Ports)
	if err == nil {
		return port, ports, nil
	}
	ctx = context.WithoutCancel(ctx)
	switch {
	case unknown == nil:
		_, back := d.o.Verbs.Attach(ctx, id, s.Slot, before.rules)
		err = errors.Join(err, back)
	case !there:
		err = errors.Join(err, d.o.Verbs.Detach(ctx, id))
	}
	return port, nil, err
}
