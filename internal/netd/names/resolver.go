// Package names answers a VM's questions about names.
//
// The host's resolvers are asked what the VM's policy lets it ask; of their answers it is told what it could use. An
// answer for a name that a policy lists is remembered, so that the address is reached through that name and not without.
package names

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"banger/internal/egress"
)

// Zone is the domain of our own names.
const Zone = "banger.internal"

const (
	answerLimit = 10 * time.Second // for one question, whatever the resolvers do
	localTTL    = 5                // seconds: other VMs come and go
	maxTTL      = 3600             // seconds: as long as an address is remembered for a name
)

// Options are what a Resolver knows its VM by. None may be nil but Pin.
type Options struct {
	Rules   func() *egress.Rules
	Pins    *egress.Pins
	Denials *egress.Denials
	Host    *Host
	Local   func(name string) (netip.Addr, bool) // our own names, below Zone
	Name    func(addr netip.Addr) (string, bool) // the other way
	// Pin has somebody else know, before the VM does, what a listed name stands for. What fails is not told.
	Pin func(ctx context.Context, name string, addrs []netip.Addr, ttl time.Duration) error
}

// Resolver answers one VM.
type Resolver struct{ Options }

// New returns a Resolver.
func New(o Options) *Resolver { return &Resolver{o} }

// Answer returns the answer to a query, or nil for what is none.
func (r *Resolver) Answer(ctx context.Context, query *dns.Msg) *dns.Msg {
	if query.Response {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable, reply.Compress = true, true
	if query.IsEdns0() != nil {
		reply.SetEdns0(udpSize, false)
	}
	switch {
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	case query.Question[0].Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeRefused
	default:
		r.answer(ctx, query.Question[0], reply)
	}
	return reply
}

func (r *Resolver) answer(ctx context.Context, q dns.Question, reply *dns.Msg) {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	switch {
	case strings.Contains(name, `\`): // a dot or worse within a label: no host has such a name, and rules would misread it
		reply.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeANY || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR:
		reply.Rcode = dns.RcodeNotImplemented
	case r.local(name, q, reply):
	case strings.HasSuffix(name, ".arpa") && r.reverse(name, q, reply):
	case !strings.Contains(name, ".") && q.Qtype == dns.TypeA && len(r.Host.Search()) > 0:
		r.search(ctx, name, q, reply)
	default:
		r.forward(ctx, name, q.Qtype, reply)
	}
}

// local answers for our own names and says whether this was one.
func (r *Resolver) local(name string, q dns.Question, reply *dns.Msg) bool {
	label, ours := strings.CutSuffix(name, "."+Zone)
	ours = ours || name == Zone
	addr, known := netip.Addr{}, false
	if !strings.Contains(label, ".") && (ours || label != "host") {
		addr, known = r.Local(label)
	}
	switch {
	case known && q.Qtype == dns.TypeA:
		reply.Answer = append(reply.Answer, record(q.Name, addr, localTTL))
	case known || name == Zone:
	case ours:
		reply.Rcode = dns.RcodeNameError
	default:
		return false
	}
	return true
}

// reverse answers for addresses of VMs and for those of which the VM shall know nothing, and says whether it was one.
func (r *Resolver) reverse(name string, q dns.Question, reply *dns.Msg) bool {
	addr, ok := arpaAddr(name)
	if !ok {
		return false
	}
	if local, known := r.Name(addr); known {
		if q.Qtype == dns.TypePTR {
			reply.Answer = append(reply.Answer, &dns.PTR{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: localTTL},
				Ptr: local + "." + Zone + ".",
			})
		}
		return true
	}
	rules := r.Rules()
	if rules.Listed() || !rules.Tell(addr).Allowed {
		reply.Rcode = dns.RcodeNameError
		return true
	}
	return false
}

func arpaAddr(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	labels := strings.Split(digits, ".")
	slices.Reverse(labels)
	addr, err := netip.ParseAddr(strings.Join(labels, "."))
	return addr, err == nil && addr.Is4()
}

// search looks for a name of one label in the host's search domains, as programs on the host do. The guest need not know
// them, and they may change.
func (r *Resolver) search(ctx context.Context, label string, q dns.Question, reply *dns.Msg) {
	for _, domain := range r.Host.Search() {
		name := label + "." + domain
		if !r.Rules().Resolve(name).Allowed {
			continue
		}
		found := reply.Copy()
		r.forward(ctx, name, q.Qtype, found)
		if found.Rcode == dns.RcodeSuccess && len(found.Answer) > 0 {
			alias := &dns.CNAME{
				Hdr:    dns.RR_Header{Name: q.Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: found.Answer[0].Header().Ttl},
				Target: dns.Fqdn(name),
			}
			reply.Answer = append([]dns.RR{alias}, found.Answer...)
			return
		}
	}
	r.forward(ctx, label, q.Qtype, reply)
}

func record(name string, addr netip.Addr, ttl uint32) dns.RR {
	return &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: addr.AsSlice()}
}
