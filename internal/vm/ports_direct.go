package vm

import (
	"net/netip"

	"banger/internal/model"
	"banger/internal/network"
)

// direct says whether this host reaches the VMs of a driver without their ports being published. None appears by itself
// then.
func direct(d network.Driver) bool {
	_, named := d.(network.Namer)
	return named
}

// apart returns what is published, and what is there by itself.
func apart(ports []model.Port) (published, there []model.Port) {
	for _, p := range ports {
		if p.Auto {
			there = append(there, p)
		} else {
			published = append(published, p)
		}
	}
	return published, there
}

// directPorts are those that are published, and those of the guest's other listeners, where it has them.
func directPorts(before []model.Port, address netip.Addr, listening []uint16) []model.Port {
	ports, _ := apart(before)
	served := map[uint16]bool{}
	for _, p := range ports {
		served[p.GuestPort] = served[p.GuestPort] || !p.UDP
	}
	auto := 0
	for _, port := range listening {
		if served[port] || auto == maxAuto {
			continue
		}
		auto++
		ports = append(ports, model.Port{PortForward: model.PortForward{HostIP: address, HostPort: port, GuestPort: port}, Auto: true})
	}
	return ports
}

// nameHosts says by which name the VM is found, of the ports that are where it has them.
func (s *Service) nameHosts(v model.VM, ports []model.Port) []model.Port {
	d, err := s.network(v.Network)
	if err != nil {
		return ports
	}
	if n, ok := d.(network.Namer); ok {
		for i := range ports {
			if ports[i].Auto {
				ports[i].HostName = n.HostName(v.ID)
			}
		}
	}
	return ports
}
