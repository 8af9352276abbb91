package model

import (
	"crypto/sha256"
	"net"
	"net/netip"
)

// Range is a block of addresses with the reason why it is refused.
type Range struct {
	Prefix netip.Prefix
	Why    string
}

// GuestRange is the range of the VMs' addresses. It is nobody's (RFC 2544), and nothing of it is reached through the host.
func GuestRange() netip.Prefix { return netip.MustParsePrefix("198.18.0.0/15") }

// UnreachableRanges lists what no policy reaches: addresses that mean something to the host alone, or to nobody.
func UnreachableRanges() []Range {
	return ranges(
		"0.0.0.0/8", "no address of a destination",
		"127.0.0.0/8", "the host's loopback",
		"198.18.0.0/15", "the range of the VMs; those of one group:NAME reach each other",
		"224.0.0.0/4", "multicast",
		"240.0.0.0/4", "reserved and broadcast addresses",
	)
}

// PrivateRanges lists what is not the internet, beside what is unreachable. The blocks for documentation (RFC 5737) are not
// in it: nobody has them, and a host that routes one of them does so to something that it means to reach.
func PrivateRanges() []Range {
	return ranges(
		"10.0.0.0/8", "a private network (RFC 1918)",
		"100.64.0.0/10", "a provider's private network (RFC 6598)",
		"168.63.129.16/32", "a cloud's metadata service",
		"169.254.0.0/16", "link-local addresses and metadata services",
		"172.16.0.0/12", "a private network (RFC 1918)",
		"192.0.0.0/24", "protocol assignments (RFC 6890)",
		"192.88.99.0/24", "6to4 relays (RFC 7526)",
		"192.168.0.0/16", "a private network (RFC 1918)",
	)
}

func ranges(pairs ...string) []Range {
	list := make([]Range, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, Range{Prefix: netip.MustParsePrefix(pairs[i]), Why: pairs[i+1]})
	}
	return list
}

// HardwareAddress is that of the interface of a VM, by its slot, in an installation: a locally administered one. No VM has
// the slot 0, whose address is the installation's own.
func HardwareAddress(instance InstanceID, slot int) net.HardwareAddr {
	sum := sha256.Sum256([]byte("banger mac " + instance))
	return net.HardwareAddr{0x02, sum[0], sum[1], byte(slot >> 16), byte(slot >> 8), byte(slot)}
}
