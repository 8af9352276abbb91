package egress

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"banger/internal/model"
)

// Viewpoint is a VM's: what a check of a destination asks.
type Viewpoint struct {
	Rules *Rules
	// Address decides about an address; name is one that stands for it, or "".
	Address func(dst netip.AddrPort, name string) Verdict
	// Local is the address of one of our own names, if it is one.
	Local func(name string) (netip.Addr, bool)
	// Resolve asks the host's resolvers.
	Resolve func(ctx context.Context, name string) ([]netip.Addr, error)
}

// Check says what would happen if the VM connected to host:port, where host is an address or a name, and what addresses the
// name has.
func (v Viewpoint) Check(ctx context.Context, destination string) (Verdict, []netip.Addr, error) {
	host, digits, err := net.SplitHostPort(destination)
	number, numErr := strconv.ParseUint(digits, 10, 16)
	if err != nil || numErr != nil || host == "" || number == 0 {
		return Verdict{}, nil, model.Errorf(model.ErrInvalid, "cannot check %q: write host:port, such as example.org:443", destination)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return v.Address(netip.AddrPortFrom(addr, uint16(number)), ""), nil, nil
	}
	return v.name(ctx, strings.ToLower(strings.TrimSuffix(host, ".")), uint16(number))
}

func (v Viewpoint) name(ctx context.Context, name string, port uint16) (Verdict, []netip.Addr, error) {
	if addr, ok := v.Local(name); ok {
		return v.Address(netip.AddrPortFrom(addr, port), ""), []netip.Addr{addr}, nil
	}
	if verdict := v.Rules.Resolve(name); !verdict.Allowed {
		return verdict, nil, nil
	}
	addrs, err := v.Resolve(ctx, name)
	if err != nil {
		return Verdict{}, nil, model.Errorf(model.ErrUnavailable, "cannot check %s: the host's resolvers do not answer: %w", name, err)
	}
	verdict := Verdict{Rule: name + " has no IPv4 address"}
	for _, addr := range addrs {
		if verdict = v.Address(netip.AddrPortFrom(addr, port), name); verdict.Allowed {
			break
		}
	}
	return verdict, addrs, nil
}
