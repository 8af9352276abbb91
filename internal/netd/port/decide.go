package port

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"banger/internal/egress"
	"banger/internal/model"
)

// DNS is the port at which the gateway answers questions for names.
const DNS = 53

// decide says whether the guest may reach dst through the host. name is one that is known to have stood for it, or "".
func (s *side) decide(dst netip.AddrPort, name string) egress.Verdict {
	if dst.Addr() == s.identity.Gateway {
		return s.decideGateway(dst.Port())
	}
	names := s.pins.Names(dst.Addr(), time.Now())
	if name != "" {
		names = append(names, name)
	}
	return s.rules.Load().Decide(dst, names)
}

// decideGateway: what the user opened on the host stands beside the policy; none is none all the same.
func (s *side) decideGateway(port uint16) egress.Verdict {
	c := s.config.Load()
	switch {
	case c.Policy.Kind == model.KindNone:
		return egress.Verdict{Rule: egress.RuleNone}
	case port == DNS:
		return egress.Verdict{Allowed: true, Rule: "DNS"}
	case c.HostPorts[port]:
		return egress.Verdict{Allowed: true, Rule: "host port " + strconv.Itoa(int(port))}
	}
	return egress.Verdict{Rule: "port " + strconv.Itoa(int(port)) + " of the host is not opened to the VM"}
}

// target is where the host connects to for the guest.
func (s *side) target(dst netip.AddrPort) string {
	if dst.Addr() == s.identity.Gateway {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(dst.Port())))
	}
	return dst.String()
}

func (s *side) deny(protocol string, destination string, rule string) {
	s.denials.Add(protocol, destination, rule, time.Now())
}

// full is the rule that refuses what is beyond a limit.
func (s *side) full(what string, most int) string {
	return fmt.Sprintf("the VM has %d %s open, the most that it may have", most, what)
}

// localName resolves names below banger.internal.
func (s *side) localName(name string) (netip.Addr, bool) {
	switch name {
	case "host":
		return s.identity.Gateway, true
	case s.Name():
		return s.identity.Address, true
	}
	return s.near.named(name)
}

// localAddr is localName the other way.
func (s *side) localAddr(addr netip.Addr) (string, bool) {
	switch addr {
	case s.identity.Gateway:
		return "host", true
	case s.identity.Address:
		return s.Name(), true
	}
	return s.near.at(addr)
}
