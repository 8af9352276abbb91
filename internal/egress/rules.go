// Package egress decides what a VM may reach.
//
// A Rules value is a policy that has been made ready to decide: it is immutable, so that a live change of policy is one
// pointer that changes. What a name was resolved to (Pins) and what was refused (Denials) outlive such a change.
package egress

import (
	"fmt"
	"net/netip"

	"banger/internal/model"
)

// Verdict is a decision with its reason.
type Verdict struct {
	Allowed bool
	Rule    string // what decided: an entry of the policy, or why none does
	Name    string // the domain name through which it was allowed, or ""
}

// The rules that are no entry's.
const (
	RuleNone  = "the policy is none"
	RulePeers = "both VMs are in one group"
)

// OwnAddress says whether the host would take a packet to addr for itself, or send it to everybody on a link.
type OwnAddress func(addr netip.Addr) bool

// Rules are a policy ready to decide.
type Rules struct {
	policy      model.Policy
	own         OwnAddress
	unreachable []model.Range
	notPublic   []model.Range
}

// New returns the rules of a policy.
func New(policy model.Policy, own OwnAddress) *Rules {
	return &Rules{policy: policy, own: own, unreachable: model.UnreachableRanges(), notPublic: model.PrivateRanges()}
}

// Policy is what the rules were made of.
func (r *Rules) Policy() model.Policy { return r.policy }

// Decide says whether a VM may reach an address. names are the domain names that it is known by: those that were resolved
// to it for this VM.
func (r *Rules) Decide(dst netip.AddrPort, names []string) Verdict {
	addr := dst.Addr().Unmap()
	if !addr.Is4() {
		return Verdict{Rule: "guests have no IPv6"}
	}
	if why, bad := find(r.unreachable, addr); bad {
		return Verdict{Rule: why}
	}
	switch r.policy.Kind {
	case model.KindNone:
		return Verdict{Rule: RuleNone}
	case model.KindOpen:
		return Verdict{Allowed: true, Rule: model.PolicyOpen}
	}
	if entry, ok := r.prefix(addr, dst.Port(), false); ok {
		return Verdict{Allowed: true, Rule: entry.String()}
	}
	return r.internet(addr, dst.Port(), names)
}

// prefix returns the entry whose range holds the address.
func (r *Rules) prefix(addr netip.Addr, port uint16, anyPort bool) (model.PolicyEntry, bool) {
	for _, e := range r.policy.Entries {
		if e.Prefix.IsValid() && e.Prefix.Contains(addr) && (anyPort || e.Port == 0 || e.Port == port) {
			return e, true
		}
	}
	return model.PolicyEntry{}, false
}

// internet decides by the entries that allow public addresses only, so that no name can stand for a private one.
func (r *Rules) internet(addr netip.Addr, port uint16, names []string) Verdict {
	var allowed Verdict
	for _, e := range r.policy.Entries {
		if e.Public {
			allowed = Verdict{Allowed: true, Rule: e.String()}
			break
		}
		if name, ok := named(e, names); ok && (e.Port == 0 || e.Port == port) {
			allowed = Verdict{Allowed: true, Rule: e.String(), Name: name}
			break
		}
	}
	if !allowed.Allowed {
		if len(names) > 0 {
			return Verdict{Rule: fmt.Sprintf("no entry of the policy allows port %d of %s", port, names[0])}
		}
		return Verdict{Rule: "no entry of the policy allows it"}
	}
	if why := r.private(addr); why != "" {
		return Verdict{Rule: why}
	}
	return allowed
}

// private says why an address is not a part of the internet, or "".
func (r *Rules) private(addr netip.Addr) string {
	if why, bad := find(r.notPublic, addr); bad {
		return why
	}
	if r.own(addr) {
		return addr.String() + " is an address of the host"
	}
	return ""
}

// Resolve says whether a VM may ask for a name, which is in lower case and has no final dot.
func (r *Rules) Resolve(name string) Verdict {
	switch r.policy.Kind {
	case model.KindNone:
		return Verdict{Rule: RuleNone}
	case model.KindOpen:
		return Verdict{Allowed: true, Rule: model.PolicyOpen}
	}
	for _, e := range r.policy.Entries {
		if e.Public || e.MatchesName(name) {
			return Verdict{Allowed: true, Rule: e.String()}
		}
	}
	return Verdict{Rule: "no entry of the policy names it"}
}

// Tell says whether a VM may be told that a name stands for addr: an answer that it could not use in any case is
// dropped, so that no name of the internet shows it an address of the host's networks.
func (r *Rules) Tell(addr netip.Addr) Verdict {
	addr = addr.Unmap()
	if !addr.Is4() {
		return Verdict{Rule: "guests have no IPv6"}
	}
	if why, bad := find(r.unreachable, addr); bad {
		return Verdict{Rule: why}
	}
	if r.policy.Kind == model.KindOpen {
		return Verdict{Allowed: true, Rule: model.PolicyOpen}
	}
	if e, ok := r.prefix(addr, 0, true); ok {
		return Verdict{Allowed: true, Rule: e.String()}
	}
	if why := r.private(addr); why != "" {
		return Verdict{Rule: why}
	}
	return Verdict{Allowed: true, Rule: model.PolicyPublic}
}

// Listed says whether only the names that the policy lists are resolved.
func (r *Rules) Listed() bool { return r.policy.Listed() }

// Naming returns the entries that a name is one of, where what it stands for has to be remembered.
func (r *Rules) Naming(name string) []model.PolicyEntry {
	var all []model.PolicyEntry
	for _, e := range r.policy.Names() {
		if e.MatchesName(name) {
			all = append(all, e)
		}
	}
	return all
}

func named(e model.PolicyEntry, names []string) (string, bool) {
	for _, name := range names {
		if e.MatchesName(name) {
			return name, true
		}
	}
	return "", false
}
