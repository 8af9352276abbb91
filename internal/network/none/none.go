// Package none is the network driver for VMs without a network: the guest has its loopback interface only.
package none

import (
	"context"

	"banger/internal/model"
	"banger/internal/network"
)

// Driver implements network.Driver and network.Explainer. It makes nothing, so there is nothing to remove or to sweep.
type Driver struct{}

var (
	_ network.Driver    = Driver{}
	_ network.Explainer = Driver{}
)

// New returns the driver.
func New() Driver { return Driver{} }

// Name implements network.Driver.
func (Driver) Name() string { return "none" }

// Carries implements network.Driver.
func (Driver) Carries(w network.Wants) bool { return w == network.Wants{Policy: model.PolicyNone} }

// Links implements network.Driver.
func (Driver) Links() []network.LinkKind { return []network.LinkKind{network.LinkNone} }

// Set implements network.Driver. A policy other than none is ErrInvalid: the caller chose the wrong driver, and a VM that
// was promised a network must not silently go without.
func (Driver) Set(ctx context.Context, _ model.VMID, s network.Spec) (network.Link, error) {
	if err := ctx.Err(); err != nil {
		return network.Link{}, model.HostErrorf(err, "cannot set the network")
	}
	if s.Policy != model.PolicyNone {
		return network.Link{}, model.Errorf(model.ErrInvalid, "cannot give the VM the network policy %q: its network driver is none", s.Policy)
	}
	if len(s.Ports)+len(s.HostPorts) > 0 {
		return network.Link{}, model.Errorf(model.ErrInvalid, "cannot publish ports of a VM without a network")
	}
	return network.Link{Kind: network.LinkNone}, nil
}

// Up implements network.Driver.
func (Driver) Up(context.Context, model.VMID, model.Process) error { return nil }

// Clear implements network.Driver.
func (Driver) Clear(context.Context, model.VMID, model.NetHandles) error { return nil }

// Sweep implements network.Driver.
func (Driver) Sweep(context.Context, map[model.VMID]bool) error { return nil }

// Denied implements network.Explainer: without an interface nothing is even tried.
func (Driver) Denied(context.Context, model.VMID) ([]model.Denial, error) { return nil, nil }

// Check implements network.Explainer.
func (Driver) Check(context.Context, model.VMID, string, bool) (model.Verdict, error) {
	return model.Verdict{Rule: "the VM has no network interface"}, nil
}
