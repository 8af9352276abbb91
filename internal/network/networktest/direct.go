package networktest

import (
	"context"

	"banger/internal/model"
	"banger/internal/network"
)

// Direct is a Fake whose VMs the pretended host reaches as they are, by name: nothing of them is published.
type Direct struct{ *Fake }

var (
	_ network.Driver = Direct{}
	_ network.Namer  = Direct{}
)

// Name implements network.Driver.
func (Direct) Name() string { return "direct" }

// Carries implements network.Driver.
func (Direct) Carries(_ string, ports bool) bool { return !ports }

// Set implements network.Driver.
func (d Direct) Set(ctx context.Context, id model.VMID, s network.Spec) (network.Link, error) {
	if len(s.Ports) > 0 {
		return network.Link{}, model.Errorf(model.ErrUnsupported, "cannot publish ports: there is no need to")
	}
	return d.Fake.Set(ctx, id, s)
}

// HostName implements network.Namer.
func (d Direct) HostName(id model.VMID) string {
	if !d.Has(id) {
		return ""
	}
	return string(id) + ".test"
}
