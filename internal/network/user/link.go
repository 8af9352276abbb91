package user

import (
	"net/netip"

	netdv1 "banger/api/netd/v1"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/resolvconf"
)

// mtu is the largest that QEMU's stream backend carries, whose frames, with their headers, are at most 68 KiB long; a tap
// takes one byte more, and an IPv4 packet is at most 64 KiB.
const mtu = 65520

// The addresses are those of a range that is nobody's (RFC 2544, benchmarking), the same in every VM but for the slot.
func gateway() netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, 1}) }

// maxSlot is the last one that has an address of its own in 198.18.0.0/15.
const maxSlot = 1<<17 - 3

// tapName is the same in all VMs: each is in a namespace of its own.
const tapName = "banger"

// linkOf is the link of a VM: a function of the installation and the slot.
func linkOf(instance model.InstanceID, s network.Spec) (network.Link, error) {
	if s.Slot < 1 || s.Slot > maxSlot {
		return network.Link{}, model.Errorf(model.ErrUnsupported, "cannot give the VM an address: its number %d is above %d", s.Slot, maxSlot)
	}
	host := s.Slot + 1 // slot 1 has the address after the gateway's
	// The guest is alone in its network, so that whatever it sends goes to the gateway.
	address := netip.AddrFrom4([4]byte{198, 18 + byte(host>>16), byte(host >> 8), byte(host)})
	return network.Link{
		Kind: s.Kind, Socket: socketIn(s.Dir), Tap: tapName, MAC: model.HardwareAddress(instance, s.Slot), MTU: mtu,
		Address: netip.PrefixFrom(address, 32), Gateway: gateway(), DNS: []netip.Addr{gateway()},
	}, nil
}

func portOf(id model.VMID, s network.Spec, link network.Link) *netdv1.Port {
	p := &netdv1.Port{
		VmId: string(id), Name: s.Name, Socket: link.Socket, Mac: link.MAC, Address: link.Address.String(),
		Gateway: link.Gateway.String(), Mtu: uint32(link.MTU), Policy: s.Policy,
	}
	p.Forwards = forwardMessages(s.Ports)
	for _, port := range s.HostPorts {
		p.HostPorts = append(p.HostPorts, uint32(port))
	}
	return p
}

func forwardMessages(ports []model.PortForward) []*netdv1.Forward {
	var all []*netdv1.Forward
	for _, f := range ports {
		all = append(all, &netdv1.Forward{
			HostIp: f.HostIP.String(), HostPort: uint32(f.HostPort), GuestPort: uint32(f.GuestPort), Udp: f.UDP,
		})
	}
	return all
}

// forwardsOf are the forwards that netd has taken, which must be those that were asked for.
func forwardsOf(taken []*netdv1.Forward, asked []model.PortForward) ([]model.PortForward, error) {
	var ports []model.PortForward
	for i, f := range asked {
		if i >= len(taken) || taken[i].GetGuestPort() != uint32(f.GuestPort) || taken[i].GetUdp() != f.UDP ||
			taken[i].GetHostPort() == 0 || taken[i].GetHostPort() > 65535 {
			return nil, model.Errorf(model.ErrUnavailable, "cannot publish %s: banger-netd did not say where it is", f)
		}
		f.HostPort = uint16(taken[i].GetHostPort())
		ports = append(ports, f)
	}
	return ports, nil
}

// searchDomains are those of the host, for the guest's short names.
func searchDomains(policy string) []string {
	if policy == model.PolicyNone {
		return nil
	}
	return resolvconf.Search()
}
