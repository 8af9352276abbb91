package vm

import (
	"net/netip"

	"banger/internal/model"
	"banger/internal/network"
)

// direct says whether this host reaches the VMs of a driver without their ports being published, which it does not do.
func direct(d network.Driver) bool {
	_, named := d.(network.Namer)
	return named
}

// directPorts are those of the guest's listeners, where it has them.
func directPorts(address netip.Addr, listening []uint16) []model.Port {
	var ports []model.Port
	for _, port := range listening[:min(len(listening), maxAuto)] {
		ports = append(ports, model.Port{PortForward: model.PortForward{HostIP: address, HostPort: port, GuestPort: port}, Auto: true})
	}
	return ports
}

// nameHosts says by which name the VM is found, of the ports that are its own.
func (s *Service) nameHosts(v model.VM, ports []model.Port) []model.Port {
	d, err := s.network(v.Network)
	if err != nil {
		return ports
	}
	if n, ok := d.(network.Namer); ok {
		for i := range ports {
			ports[i].HostName = n.HostName(v.ID)
		}
	}
	return ports
}
