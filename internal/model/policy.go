package model

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The words of a network policy that stand alone.
const (
	PolicyNone   = "none"   // nothing that the guest starts leaves it
	PolicyPublic = "public" // the internet: no private network, no host, no other VM. It may also stand in a list
	PolicyOpen   = "open"   // whatever the host reaches, but the host's loopback and other VMs
)

// Limits of a policy. They are what a person may want, and keep a table of rules small.
const (
	maxPolicyBytes   = 16 << 10
	maxPolicyEntries = 256
)

// What a name in a policy stands for is remembered as long as the answer that said so may be, within these bounds: programs
// use an address a little longer than they should, and no name may hold one for ever.
const (
	MinPin  = time.Minute
	MaxPin  = time.Hour
	MaxPins = 4096 // of one VM
	// PinGrace is by how much the kernel remembers longer, so that it is told again once in so long at most.
	PinGrace = time.Minute
)

// PolicyKind is which of the forms a policy has.
type PolicyKind int

// The forms of a policy.
const (
	KindNone PolicyKind = iota // also the zero Policy: nothing is allowed
	KindOpen
	KindList // public is a list of one
)

// Policy says what a VM may reach. The zero Policy is none.
type Policy struct {
	Kind    PolicyKind
	Entries []PolicyEntry // of KindList, in the order given, none twice
}

// PolicyEntry is one thing that a list allows. Exactly one of the first four fields is set.
type PolicyEntry struct {
	Public bool         // the internet
	Group  string       // the VMs whose policies name the same group
	Prefix netip.Prefix // IPv4 addresses; a single one is a /32
	Domain string       // in lower case, without a final dot; below *. it stands for every name under it, not for itself
	Port   uint16       // of Prefix and Domain: 0 for any
}

const policyForms = "write none, public, open, or a list of public, group:NAME, 192.0.2.7:443, 192.0.2.0/24, example.org:443, *.example.org"

// ParsePolicy reads what --network takes: none, public, open, or a comma-separated list of entries. Its errors, of kind
// ErrInvalid, name the bad entry.
func ParsePolicy(text string) (Policy, error) {
	switch text = strings.TrimSpace(text); {
	case text == "":
		return Policy{}, Errorf(ErrInvalid, "cannot use an empty network policy: %s", policyForms)
	case text == PolicyNone:
		return Policy{Kind: KindNone}, nil
	case text == PolicyOpen:
		return Policy{Kind: KindOpen}, nil
	case len(text) > maxPolicyBytes:
		return Policy{}, Errorf(ErrInvalid, "cannot use a network policy of %d bytes: at most %d are allowed", len(text), maxPolicyBytes)
	}
	p := Policy{Kind: KindList}
	for word := range strings.SplitSeq(text, ",") {
		entry, err := parsePolicyEntry(strings.TrimSpace(word))
		if err != nil {
			return Policy{}, err
		}
		if !slices.Contains(p.Entries, entry) {
			p.Entries = append(p.Entries, entry)
		}
	}
	if len(p.Entries) > maxPolicyEntries {
		return Policy{}, Errorf(ErrInvalid, "cannot use a network policy of %d entries: at most %d are allowed", len(p.Entries), maxPolicyEntries)
	}
	return p, nil
}

func parsePolicyEntry(word string) (PolicyEntry, error) {
	switch {
	case word == PolicyPublic:
		return PolicyEntry{Public: true}, nil
	case word == PolicyNone || word == PolicyOpen:
		return PolicyEntry{}, Errorf(ErrInvalid, "cannot use %q in a list of network entries: it stands alone", word)
	case word == "":
		return PolicyEntry{}, Errorf(ErrInvalid, "cannot use a network policy with an empty entry: %s", policyForms)
	}
	if group, ok := strings.CutPrefix(word, "group:"); ok {
		return PolicyEntry{Group: group}, ValidateName("network group", group)
	}
	if strings.Count(word, ":") > 1 {
		return PolicyEntry{}, Errorf(ErrInvalid, "cannot use the network entry %q: guests have no IPv6; name it by an IPv4 address or a domain", word)
	}
	host, digits, hasPort := strings.Cut(word, ":")
	entry := PolicyEntry{}
	if hasPort {
		port, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || port == 0 {
			return PolicyEntry{}, Errorf(ErrInvalid, "cannot use the network entry %q: %q is not a port (1 to 65535)", word, digits)
		}
		entry.Port = uint16(port)
	}
	if strings.Trim(host, "0123456789./") == "" { // no name ends in a number, so this is meant as an address
		prefix, err := parseIPv4(word, host)
		entry.Prefix = prefix
		return entry, err
	}
	entry.Domain = strings.TrimSuffix(strings.ToLower(host), ".")
	return entry, validateDomain(word, entry.Domain)
}

// loopbackNet is no part of any network.
var loopbackNet = netip.MustParsePrefix("127.0.0.0/8")

func parseIPv4(word, text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		text += "/32"
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, Errorf(ErrInvalid, "cannot use the network entry %q: it is not an IPv4 address or range such as 192.0.2.7 or 192.0.2.0/24", word)
	case prefix.Overlaps(loopbackNet) && prefix.Bits() >= loopbackNet.Bits():
		return netip.Prefix{}, Errorf(ErrInvalid, "cannot use the network entry %q: no network policy reaches a loopback address, the guest's own being its own; "+
			"to let a VM reach a port of the host's loopback, make it with: --host-port PORT", word)
	case prefix != prefix.Masked():
		return netip.Prefix{}, Errorf(ErrInvalid, "cannot use the network entry %q: that range begins at %s", word, prefix.Masked())
	}
	return prefix, nil
}

// validateDomain wants a dot, so that a misspelled word is an error and not a domain.
func validateDomain(word, domain string) error {
	name, wildcard := strings.CutPrefix(domain, "*.")
	labels := strings.Split(name, ".")
	good := len(name) <= 253 && (wildcard || len(labels) > 1)
	for _, label := range labels {
		good = good && label != "" && len(label) <= MaxNameLength &&
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" && label[0] != '-' && label[len(label)-1] != '-'
	}
	if good && strings.Trim(labels[len(labels)-1], "0123456789") != "" {
		return nil
	}
	return Errorf(ErrInvalid, "cannot use the network entry %q: %s", word, policyForms)
}

// String returns the policy as ParsePolicy reads it.
func (p Policy) String() string {
	switch p.Kind {
	case KindNone:
		return PolicyNone
	case KindOpen:
		return PolicyOpen
	}
	words := make([]string, len(p.Entries))
	for i, e := range p.Entries {
		words[i] = e.String()
	}
	return strings.Join(words, ",")
}

// String returns the entry as ParsePolicy reads it.
func (e PolicyEntry) String() string {
	var text string
	switch {
	case e.Public:
		return PolicyPublic
	case e.Group != "":
		return "group:" + e.Group
	case e.Prefix.IsValid() && e.Prefix.IsSingleIP():
		text = e.Prefix.Addr().String()
	case e.Prefix.IsValid():
		text = e.Prefix.String()
	default:
		text = e.Domain
	}
	if e.Port != 0 {
		text += ":" + strconv.Itoa(int(e.Port))
	}
	return text
}

// MatchesName says whether the entry is a domain that stands for name, which is in lower case and has no final dot.
func (e PolicyEntry) MatchesName(name string) bool {
	if below, ok := strings.CutPrefix(e.Domain, "*"); ok {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return e.Domain != "" && e.Domain == name
}

// Listed says whether the policy is a list without public: then only the names that it lists are resolved, and what they
// stand for has to be remembered.
func (p Policy) Listed() bool {
	return p.Kind == KindList && !slices.ContainsFunc(p.Entries, func(e PolicyEntry) bool { return e.Public })
}

// Names returns the entries that are domains, of a policy in which they count: one with public allows as much without.
func (p Policy) Names() []PolicyEntry {
	if !p.Listed() {
		return nil
	}
	var names []PolicyEntry
	for _, e := range p.Entries {
		if e.Domain != "" {
			names = append(names, e)
		}
	}
	return names
}

// Groups returns the names of the groups that the policy names.
func (p Policy) Groups() []string {
	var groups []string
	for _, e := range p.Entries {
		if e.Group != "" {
			groups = append(groups, e.Group)
		}
	}
	return groups
}
