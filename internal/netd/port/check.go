package port

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"banger/internal/model"
	"banger/internal/netd/egress"
	"banger/internal/netd/names"
)

// Check says what would happen if the guest connected to host:port, where host is an address or a name.
func (p *Port) Check(ctx context.Context, destination string) (egress.Verdict, []netip.Addr, error) {
	host, digits, err := net.SplitHostPort(destination)
	number, numErr := strconv.ParseUint(digits, 10, 16)
	if err != nil || numErr != nil || host == "" || number == 0 {
		return egress.Verdict{}, nil, model.Errorf(model.ErrInvalid, "cannot check %q: write host:port, such as example.org:443", destination)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.checkAddr(netip.AddrPortFrom(addr, uint16(number)), ""), nil, nil
	}
	return p.checkName(ctx, strings.ToLower(strings.TrimSuffix(host, ".")), uint16(number))
}

func (p *Port) checkAddr(dst netip.AddrPort, name string) egress.Verdict {
	if p.env.Peers(p, dst.Addr()) != nil {
		return egress.Verdict{Allowed: true, Rule: "both VMs are in one group"}
	}
	return p.decide(dst, name)
}

func (p *Port) checkName(ctx context.Context, name string, port uint16) (egress.Verdict, []netip.Addr, error) {
	label, _ := strings.CutSuffix(name, "."+names.Zone)
	if addr, ok := p.localName(label); ok && (label != name || name != "host") {
		return p.checkAddr(netip.AddrPortFrom(addr, port), ""), []netip.Addr{addr}, nil
	}
	if verdict := p.rules.Load().Resolve(name); !verdict.Allowed {
		return verdict, nil, nil
	}
	addrs, err := p.resolver.Addresses(ctx, name)
	if err != nil {
		return egress.Verdict{}, nil, model.Errorf(model.ErrUnavailable, "cannot check %s: the host's resolvers do not answer: %w", name, err)
	}
	verdict := egress.Verdict{Rule: name + " has no IPv4 address"}
	for _, addr := range addrs {
		if verdict = p.checkAddr(netip.AddrPortFrom(addr, port), name); verdict.Allowed {
			break
		}
	}
	return verdict, addrs, nil
}
