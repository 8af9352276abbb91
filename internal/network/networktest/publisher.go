package networktest

import (
	"context"
	"errors"
	"io/fs"

	"banger/internal/model"
	"banger/internal/network"
)

// Publisher does for VMs on the pretended host what a kernel does not, for drivers that have another process do so. What is
// there outlives the process, as a Fake's links do.
type Publisher struct {
	fake *Fake
	base uint16
}

// doorBase is where a Publisher's doors are: at this number, and above it by the port that guests use, of which it takes the
// last three digits.
const doorBase = 20000

// NewPublisher returns one over the directory host.
func NewPublisher(host string) Publisher { return Publisher{NewFake(host, nil), doorBase} }

// Elsewhere returns one with the doors by so many numbers higher.
func (p Publisher) Elsewhere(by uint16) Publisher { return Publisher{p.fake, p.base + by} }

// Publish has it do this for a VM, and no more.
func (p Publisher) Publish(ctx context.Context, id model.VMID, what network.Direct) (network.Published, error) {
	if err := p.fake.begin(ctx, "Publish", id); err != nil {
		return network.Published{}, err
	}
	if !what.Address.IsValid() || !what.Gateway.IsValid() {
		return network.Published{}, model.Errorf(model.ErrInvalid, "cannot publish ports of a VM without an address and a gateway")
	}
	policy, err := model.ParsePolicy(what.Policy)
	if err != nil {
		return network.Published{}, err
	}
	d, err := p.fake.load(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return network.Published{}, err
	}
	if d.Ports, err = p.fake.publish(id, d.Ports, what.Ports); err != nil {
		return network.Published{}, err
	}
	d.VM, d.Policy, d.HostPorts = id, what.Policy, what.HostPorts
	there := network.Published{Ports: d.Ports}
	for _, port := range append([]uint16{53}, what.HostPorts...) {
		for _, udp := range []bool{false, true} {
			if policy.Kind != model.KindNone {
				there.Redirects = append(there.Redirects, model.Redirect{UDP: udp, Port: port, To: p.base + port%1000})
			}
		}
	}
	return there, p.fake.save(d)
}

// Withdraw has it do nothing for the VM.
func (p Publisher) Withdraw(ctx context.Context, id model.VMID) error {
	return p.fake.Clear(ctx, id, model.NetHandles{})
}

// Watch calls nobody: nothing moves by itself on the pretended host.
func (Publisher) Watch(func(model.VMID)) {}

// Check says yes to a VM's own policy as a destination.
func (p Publisher) Check(_ context.Context, id model.VMID, destination string, _ bool) (model.Verdict, error) {
	d, err := p.fake.load(id)
	return model.Verdict{Allowed: d.Policy == destination, Rule: d.Policy}, err
}

// Explain gives the VM's policy for the rule.
func (p Publisher) Explain(_ context.Context, id model.VMID, refused []model.Denial) ([]model.Denial, error) {
	d, err := p.fake.load(id)
	all := append([]model.Denial(nil), refused...)
	for i := range all {
		all[i].Rule = d.Policy
	}
	return all, err
}

// Ports are those that a VM has.
func (p Publisher) Ports(id model.VMID) []model.PortForward {
	d, err := p.fake.load(id)
	if err != nil {
		return nil
	}
	return d.Ports
}
