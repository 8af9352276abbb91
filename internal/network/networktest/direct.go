package networktest

import (
	"banger/internal/model"
	"banger/internal/network"
)

// Direct is a Fake whose VMs the pretended host reaches as they are, by name.
type Direct struct{ *Fake }

var (
	_ network.Driver = Direct{}
	_ network.Namer  = Direct{}
)

// Name implements network.Driver.
func (Direct) Name() string { return "direct" }

// HostName implements network.Namer.
func (d Direct) HostName(id model.VMID) string {
	if !d.Has(id) {
		return ""
	}
	return string(id) + ".test"
}
