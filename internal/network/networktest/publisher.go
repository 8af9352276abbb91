package networktest

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"

	"banger/internal/model"
)

// Publisher publishes ports of VMs on the pretended host, for drivers that have another process do so. What is published
// outlives the process, as a Fake's links do.
type Publisher struct{ fake *Fake }

// NewPublisher returns one over the directory host.
func NewPublisher(host string) Publisher { return Publisher{NewFake(host, nil)} }

// Publish makes the ports of a VM these.
func (p Publisher) Publish(ctx context.Context, id model.VMID, _ string, guest netip.Addr, ports []model.PortForward) ([]model.PortForward, error) {
	if err := p.fake.begin(ctx, "Publish", id); err != nil {
		return nil, err
	}
	if !guest.IsValid() {
		return nil, model.Errorf(model.ErrInvalid, "cannot publish ports of a VM without an address")
	}
	d, err := p.fake.load(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if d.Ports, err = p.fake.publish(id, d.Ports, ports); err != nil {
		return nil, err
	}
	d.VM = id
	return d.Ports, p.fake.save(d)
}

// Withdraw takes them away.
func (p Publisher) Withdraw(ctx context.Context, id model.VMID) error {
	return p.fake.Clear(ctx, id, model.NetHandles{})
}

// Ports are those that a VM has.
func (p Publisher) Ports(id model.VMID) []model.PortForward {
	d, err := p.fake.load(id)
	if err != nil {
		return nil
	}
	return d.Ports
}
