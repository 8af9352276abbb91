package port

import (
	"context"
	"net/netip"
	"strings"

	"banger/internal/egress"
	"banger/internal/netd/names"
)

// Check says what would happen if the guest connected to host:port, where host is an address or a name.
func (s *side) Check(ctx context.Context, destination string) (egress.Verdict, []netip.Addr, error) {
	return egress.Viewpoint{
		Rules: s.rules.Load(), Address: s.checkAddr, Resolve: s.resolver.Addresses,
		Local: func(name string) (netip.Addr, bool) {
			label, _ := strings.CutSuffix(name, "."+names.Zone)
			if label == name && name == "host" { // it is ours with its domain only
				return netip.Addr{}, false
			}
			return s.localName(label)
		},
	}.Check(ctx, destination)
}

// Explain gives the rule to each of what the host's kernel refused: the one that says no now. One that would not any more is
// named so.
func (s *side) Explain(refused []egress.Denial) []egress.Denial {
	var all []egress.Denial
	for _, d := range refused {
		dst, err := netip.ParseAddrPort(d.Destination)
		if err != nil {
			addr, _ := netip.ParseAddr(d.Destination)
			dst = netip.AddrPortFrom(addr, 0)
		}
		verdict := s.checkAddr(dst, "")
		if d.Rule = verdict.Rule; verdict.Allowed {
			d.Rule = "the policy that was; now it is allowed: " + verdict.Rule
		}
		all = append(all, d)
	}
	return all
}

func (s *side) checkAddr(dst netip.AddrPort, name string) egress.Verdict {
	if _, peer := s.near.at(dst.Addr()); peer {
		return egress.Verdict{Allowed: true, Rule: egress.RulePeers}
	}
	return s.decide(dst, name)
}
