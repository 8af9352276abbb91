package port

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"banger/internal/egress"
	"banger/internal/model"
)

const dnsPort = 53

// decide says whether the guest may reach dst through the host. name is one that is known to have stood for it, or "".
func (p *Port) decide(dst netip.AddrPort, name string) egress.Verdict {
	if dst.Addr() == p.identity.Gateway {
		return p.decideGateway(dst.Port())
	}
	names := p.pins.Names(dst.Addr(), time.Now())
	if name != "" {
		names = append(names, name)
	}
	return p.rules.Load().Decide(dst, names)
}

// decideGateway: what the user opened on the host stands beside the policy; none is none all the same.
func (p *Port) decideGateway(port uint16) egress.Verdict {
	c := p.config.Load()
	switch {
	case c.Policy.Kind == model.KindNone:
		return egress.Verdict{Rule: egress.RuleNone}
	case port == dnsPort:
		return egress.Verdict{Allowed: true, Rule: "DNS"}
	case c.HostPorts[port]:
		return egress.Verdict{Allowed: true, Rule: "host port " + strconv.Itoa(int(port))}
	}
	return egress.Verdict{Rule: "port " + strconv.Itoa(int(port)) + " of the host is not opened to the VM"}
}

// target is where the host connects to for the guest.
func (p *Port) target(dst netip.AddrPort) string {
	if dst.Addr() == p.identity.Gateway {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(dst.Port())))
	}
	return dst.String()
}

func (p *Port) deny(protocol string, destination string, rule string) {
	p.denials.Add(protocol, destination, rule, time.Now())
}

// localName resolves names below banger.internal.
func (p *Port) localName(name string) (netip.Addr, bool) {
	switch name {
	case "host":
		return p.identity.Gateway, true
	case p.Name():
		return p.identity.Address, true
	}
	if peer := p.env.Named(p, name); peer != nil {
		return peer.identity.Address, true
	}
	return netip.Addr{}, false
}

// localAddr is localName the other way.
func (p *Port) localAddr(addr netip.Addr) (string, bool) {
	switch addr {
	case p.identity.Gateway:
		return "host", true
	case p.identity.Address:
		return p.Name(), true
	}
	if peer := p.env.Peers(p, addr); peer != nil {
		return peer.Name(), true
	}
	return "", false
}
