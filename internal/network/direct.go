package network

import (
	"net/netip"

	"banger/internal/model"
)

// Direct is what another driver's process is told of a VM whose packets the kernel carries: for the kernel's driver, that
// process publishes the VM's ports, answers its questions for names, and has it reach ports of the host's loopback.
type Direct struct {
	Name      string
	Address   netip.Addr
	Gateway   netip.Addr
	Policy    string // as model.ParsePolicy reads it
	Ports     []model.PortForward
	HostPorts []uint16
}

// Published is where it does so.
type Published struct {
	Ports []model.PortForward // those of the Direct, in its order, with the host's ports that were taken
	// Redirects are the gateway's ports that the VM may use, and where the process listens for that.
	Redirects []model.Redirect
}
