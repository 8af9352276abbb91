package port

import (
	"context"
	"net/netip"
	"strings"

	"banger/internal/egress"
	"banger/internal/netd/names"
)

// Check says what would happen if the guest connected to host:port, where host is an address or a name.
func (p *Port) Check(ctx context.Context, destination string) (egress.Verdict, []netip.Addr, error) {
	return egress.Viewpoint{
		Rules: p.rules.Load(), Address: p.checkAddr, Resolve: p.resolver.Addresses,
		Local: func(name string) (netip.Addr, bool) {
			label, _ := strings.CutSuffix(name, "."+names.Zone)
			if label == name && name == "host" { // it is ours with its domain only
				return netip.Addr{}, false
			}
			return p.localName(label)
		},
	}.Check(ctx, destination)
}

func (p *Port) checkAddr(dst netip.AddrPort, name string) egress.Verdict {
	if p.env.Peers(p, dst.Addr()) != nil {
		return egress.Verdict{Allowed: true, Rule: egress.RulePeers}
	}
	return p.decide(dst, name)
}
