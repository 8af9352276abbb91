package netd

import (
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"

	netdv1 "banger/api/netd/v1"
	"banger/internal/egress"
	"banger/internal/model"
	"banger/internal/netd/link"
	"banger/internal/netd/port"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Limits of one port's description.
const (
	minMTU       = 576 // what every host must take (RFC 791)
	maxMTU       = 65520
	maxForwards  = 256
	maxHostPorts = 256
)

// configOf checks a port's description. Its errors are of kind ErrInvalid.
func configOf(m *netdv1.Port) (port.Config, []port.Forward, error) {
	c := port.Config{ID: m.GetVmId(), Name: m.GetName(), HostPorts: map[uint16]bool{}}
	fail := func(err error) (port.Config, []port.Forward, error) { return port.Config{}, nil, err }
	identity, err := identityOf(m)
	if err != nil {
		return fail(err)
	}
	c.Identity = identity
	if err := allows(m, &c); err != nil {
		return fail(err)
	}
	forwards, err := forwardsOf(m)
	if err != nil {
		return fail(err)
	}
	return c, forwards, nil
}

// allows checks whose a port is and what is allowed to it.
func allows(m *netdv1.Port, c *port.Config) (err error) {
	if c.ID == "" {
		return model.Errorf(model.ErrInvalid, "cannot make a port without a VM's id")
	}
	if err := model.ValidateName("VM", c.Name); err != nil {
		return err
	}
	if c.Policy, err = model.ParsePolicy(m.GetPolicy()); err != nil {
		return err
	}
	if len(m.GetHostPorts()) > maxHostPorts {
		return model.Errorf(model.ErrInvalid, "cannot give one VM more than %d ports", maxHostPorts)
	}
	for _, number := range m.GetHostPorts() {
		if number == 0 || number > 65535 {
			return model.Errorf(model.ErrInvalid, "cannot open port %d of the host: ports are 1 to 65535", number)
		}
		c.HostPorts[uint16(number)] = true
	}
	return nil
}

// publicationOf checks the description of a VM whose packets the host's kernel carries. Its errors are of kind ErrInvalid.
func publicationOf(m *netdv1.Port) (p Publication, err error) {
	p.Config = port.Config{ID: m.GetVmId(), Name: m.GetName(), HostPorts: map[uint16]bool{}}
	if err := allows(m, &p.Config); err != nil {
		return p, err
	}
	if m.GetSocket() != "" || len(m.GetMac()) > 0 || m.GetMtu() != 0 || m.GetTap() != nil {
		return p, model.Errorf(model.ErrInvalid, "cannot carry the packets of %s: the host's kernel does", p.Name)
	}
	address, aerr := netip.ParseAddr(m.GetAddress())
	gateway, gerr := netip.ParseAddr(m.GetGateway())
	if aerr != nil || gerr != nil || !model.GuestRange().Contains(address) || !model.GuestRange().Contains(gateway) || address == gateway {
		return p, model.Errorf(model.ErrInvalid, "cannot use %q and %q as the addresses of a VM and of its gateway: they are not two of %s", m.GetAddress(), m.GetGateway(), model.GuestRange())
	}
	p.Identity = port.Identity{Address: address, Gateway: gateway}
	if p.Doors, err = doorNumbers(m); err != nil {
		return p, err
	}
	p.Forwards, err = forwardsOf(m)
	return p, err
}

// doorNumbers are where a VM's doors were.
func doorNumbers(m *netdv1.Port) (map[uint16]uint16, error) {
	were := map[uint16]uint16{}
	for _, d := range m.GetDoors() {
		if d.GetPort() == 0 || d.GetPort() > 65535 || d.GetAt() == 0 || d.GetAt() > 65535 || len(were) > maxHostPorts {
			return nil, model.Errorf(model.ErrInvalid, "cannot have port %d of the gateway lead to its port %d, beside %d others", d.GetPort(), d.GetAt(), len(were))
		}
		were[uint16(d.GetPort())] = uint16(d.GetAt())
	}
	return were, nil
}

func doorMessages(doors map[uint16]uint16) []*netdv1.Door {
	var all []*netdv1.Door
	for _, p := range slices.Sorted(maps.Keys(doors)) {
		all = append(all, &netdv1.Door{Port: uint32(p), At: uint32(doors[p])})
	}
	return all
}

func forwardsOf(m *netdv1.Port) ([]port.Forward, error) {
	if len(m.GetForwards()) > maxForwards {
		return nil, model.Errorf(model.ErrInvalid, "cannot publish more than %d ports of one VM", maxForwards)
	}
	var forwards []port.Forward
	for _, m := range m.GetForwards() {
		f, err := forwardOf(m)
		if err != nil {
			return nil, err
		}
		forwards = append(forwards, f)
	}
	return forwards, nil
}

func identityOf(m *netdv1.Port) (port.Identity, error) {
	address, err := netip.ParsePrefix(m.GetAddress())
	gateway, gatewayErr := netip.ParseAddr(m.GetGateway())
	mac := link.MAC{}
	copy(mac[:], m.GetMac())
	switch {
	case !filepath.IsAbs(m.GetSocket()):
		return port.Identity{}, model.Errorf(model.ErrInvalid, "cannot connect to the socket %q: it is no absolute path", m.GetSocket())
	case len(m.GetMac()) != len(mac) || mac[0]&1 != 0 || mac == link.MAC{} || mac == link.GatewayMAC():
		return port.Identity{}, model.Errorf(model.ErrInvalid, "cannot use %x as a VM's ethernet address", m.GetMac())
	case err != nil || !model.GuestRange().Contains(address.Addr()):
		return port.Identity{}, model.Errorf(model.ErrInvalid, "cannot use %q as a VM's address: it is not of %s with a prefix length", m.GetAddress(), model.GuestRange())
	case gatewayErr != nil || !model.GuestRange().Contains(gateway) || gateway == address.Addr():
		return port.Identity{}, model.Errorf(model.ErrInvalid, "cannot use %q as the gateway of %s: it is not another address of %s", m.GetGateway(), address, model.GuestRange())
	case m.GetMtu() < minMTU || m.GetMtu() > maxMTU:
		return port.Identity{}, model.Errorf(model.ErrInvalid, "cannot use an MTU of %d: it can be %d to %d", m.GetMtu(), minMTU, maxMTU)
	}
	return port.Identity{Socket: m.GetSocket(), MAC: mac, Address: address.Addr(), Gateway: gateway, MTU: m.GetMtu()}, nil
}

// tapName is what a tap of ours may be called.
var tapName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,14}$`)

// toldOf checks whose a tap is. That there is none is no error.
func toldOf(m *netdv1.Tap) (told, error) {
	if m == nil {
		return told{}, nil
	}
	if !tapName.MatchString(m.GetName()) || m.GetPid() <= 0 {
		return told{}, model.Errorf(model.ErrInvalid, "cannot use %q of process %d as a tap", m.GetName(), m.GetPid())
	}
	return told{m.GetName(), model.Process{PID: int(m.GetPid()), StartTime: m.GetStartTime(), BootID: m.GetBootId()}}, nil
}

func forwardOf(m *netdv1.Forward) (port.Forward, error) {
	ip, err := netip.ParseAddr(m.GetHostIp())
	switch {
	case err != nil || ip.Zone() != "":
		return port.Forward{}, model.Errorf(model.ErrInvalid, "cannot publish a port at %q: it is no address", m.GetHostIp())
	case m.GetHostPort() > 65535 || m.GetGuestPort() > 65535 || m.GetGuestPort() == 0:
		return port.Forward{}, model.Errorf(model.ErrInvalid, "cannot publish port %d of the guest at port %d: ports are 1 to 65535", m.GetGuestPort(), m.GetHostPort())
	}
	return port.Forward{HostIP: ip, HostPort: uint16(m.GetHostPort()), GuestPort: uint16(m.GetGuestPort()), UDP: m.GetUdp()}, nil
}

func forwardMessage(f port.Forward) *netdv1.Forward {
	return &netdv1.Forward{HostIp: f.HostIP.String(), HostPort: uint32(f.HostPort), GuestPort: uint32(f.GuestPort), Udp: f.UDP}
}

func refusedOf(all []*netdv1.Denial) ([]egress.Denial, error) {
	if len(all) > egress.MaxDenials {
		return nil, model.Errorf(model.ErrInvalid, "cannot explain %d destinations at once, at most %d", len(all), egress.MaxDenials)
	}
	var refused []egress.Denial
	for _, m := range all {
		refused = append(refused, egress.Denial{Protocol: m.GetProtocol(), Destination: m.GetDestination(), Count: m.GetCount(), Last: m.GetLast().AsTime()})
	}
	return refused, nil
}

func denialMessage(d egress.Denial) *netdv1.Denial {
	return &netdv1.Denial{Protocol: d.Protocol, Destination: d.Destination, Rule: d.Rule, Count: d.Count, Last: timestamppb.New(d.Last)}
}
