package networktest

import (
	"banger/internal/model"
	"banger/internal/network"
)

// Direct is a Fake whose VMs the pretended host reaches as they are, by name, and which opens no ports of the host to them.
type Direct struct{ *Fake }

var (
	_ network.Driver = Direct{}
	_ network.Namer  = Direct{}
)

// Name implements network.Driver.
func (Direct) Name() string { return "direct" }

// Carries implements network.Driver.
func (Direct) Carries(w network.Wants) bool { return !w.HostPorts }

// HostName implements network.Namer.
func (d Direct) HostName(id model.VMID) string {
	if !d.Has(id) {
		return ""
	}
	return string(id) + ".test"
}
