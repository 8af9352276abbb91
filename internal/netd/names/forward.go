package names

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"banger/internal/egress"
)

// maxChain caps the aliases that are followed in one answer.
const maxChain = 16

// forward asks the host for a name and puts what the VM may be told into reply.
func (r *Resolver) forward(ctx context.Context, name string, qtype uint16, reply *dns.Msg) {
	rules := r.Rules()
	if verdict := rules.Resolve(name); !verdict.Allowed {
		r.deny(name, verdict)
		reply.Rcode = dns.RcodeNameError
		explain(reply, dns.ExtendedErrorCodeProhibited, verdict.Rule)
		return
	}
	// Guests have no IPv6, and service bindings carry addresses that were not looked at.
	if qtype == dns.TypeAAAA || rules.Listed() && (qtype == dns.TypeHTTPS || qtype == dns.TypeSVCB) {
		return
	}
	answer, err := r.Host.Exchange(ctx, name, qtype)
	if err != nil {
		reply.Rcode = dns.RcodeServerFailure
		explain(reply, dns.ExtendedErrorCodeNetworkError, "the host's resolvers do not answer")
		return
	}
	reply.Rcode = answer.Rcode
	chain, end := follow(answer.Answer, dns.Fqdn(name))
	var addrs []netip.Addr
	ttl := uint32(maxTTL)
	for _, rr := range chain {
		ttl = min(ttl, rr.Header().Ttl)
		reply.Answer = append(reply.Answer, rr)
	}
	var refused egress.Verdict
	for _, rr := range answer.Answer {
		if rr.Header().Rrtype != qtype || qtype == dns.TypeCNAME || !strings.EqualFold(rr.Header().Name, end) {
			continue
		}
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			if verdict := rules.Tell(addr); !verdict.Allowed {
				refused = verdict
				continue
			}
			addrs = append(addrs, addr)
		}
		ttl = min(ttl, rr.Header().Ttl)
		reply.Answer = append(reply.Answer, rr)
	}
	for _, rr := range reply.Answer {
		rr.Header().Ttl = min(rr.Header().Ttl, maxTTL)
	}
	if len(reply.Answer) == 0 {
		reply.Ns = absence(answer)
	}
	if refused.Rule != "" {
		r.deny(name, refused)
		explain(reply, dns.ExtendedErrorCodeFiltered, refused.Rule)
	}
	if rules.Listed() && len(addrs) > 0 && r.remember(ctx, name, addrs, time.Duration(ttl)*time.Second) != nil {
		reply.Answer, reply.Rcode = nil, dns.RcodeServerFailure
		explain(reply, dns.ExtendedErrorCodeNotReady, "the host's kernel was not told of it")
	}
}

// absence is what says how long there is no such name.
func absence(answer *dns.Msg) (soa []dns.RR) {
	for _, rr := range answer.Ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			soa = append(soa, rr)
		}
	}
	return soa
}

// remember has it known what a listed name stands for, before the VM knows.
func (r *Resolver) remember(ctx context.Context, name string, addrs []netip.Addr, life time.Duration) error {
	if r.Pin != nil {
		if err := r.Pin(ctx, name, addrs, life); err != nil {
			return err
		}
	}
	r.Pins.Add(name, addrs, life, time.Now())
	return nil
}

// follow returns the aliases that lead from name through the records, and the name at their end: an answer may hold
// records that nobody asked for, and these do not count.
func follow(records []dns.RR, name string) (chain []dns.RR, end string) {
	for range maxChain {
		next := ""
		for _, rr := range records {
			if alias, ok := rr.(*dns.CNAME); ok && strings.EqualFold(alias.Hdr.Name, name) {
				chain, next = append(chain, alias), alias.Target
				break
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	return chain, name
}

func (r *Resolver) deny(name string, verdict egress.Verdict) {
	r.Denials.Add("dns", name, verdict.Rule, time.Now())
}

// explain adds an extended error (RFC 8914) for those who can read one.
func explain(reply *dns.Msg, code uint16, text string) {
	if opt := reply.IsEdns0(); opt != nil {
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: code, ExtraText: text})
	}
}

// Addresses returns what the host's resolvers say that name stands for, whether or not a VM would be told.
func (r *Resolver) Addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	answer, err := r.Host.Exchange(ctx, name, dns.TypeA)
	if err != nil {
		return nil, err
	}
	_, end := follow(answer.Answer, dns.Fqdn(name))
	var addrs []netip.Addr
	for _, rr := range answer.Answer {
		if a, ok := rr.(*dns.A); ok && strings.EqualFold(a.Hdr.Name, end) {
			if addr, ok := netip.AddrFromSlice(a.A.To4()); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs, nil
}
