package hostnet

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// maxConnections caps what a VM may have in the kernel's table of connections, which is the host's.
const maxConnections = 2048

// vm fills the chains of one VM, and has packets come to them.
func (r *rules) vm(id model.VMID, slot int, part netip.Prefix, want Rules) {
	address := addressIn(part, slot)
	chain, peers := chainOf(chainVM, id, slot), chainOf(chainOwn, id, slot)
	r.chain(r.frames, chain, r.h.frameRules(slot, part)...)
	r.chain(r.ip, chain, r.policy(id, slot, want)...)
	toPeers := [][]expr.Any{rule(state(expr.CtStateBitNEW), moreThan(maxConnections), drop())}
	for _, group := range want.Policy.Groups() {
		set := &nftables.Set{Table: r.ip, Name: groupPrefix + group, KeyType: nftables.TypeIPAddr}
		r.newSet(set, nftables.SetElement{Key: address.AsSlice()})
		toPeers = append(toPeers, rule(in(ipDestination, set), accept()))
	}
	r.chain(r.ip, peers, toPeers...)
	r.denied(id, slot, address)
	r.add(mapPorts, nftables.SetElement{Key: ifname(r.h.tap(slot)), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}})
	r.add(mapGuests, nftables.SetElement{Key: address.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}})
	r.add(mapPeers, nftables.SetElement{Key: address.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: peers}})
	r.doors(chainOf(chainTo, id, slot), address, want.Redirects)
}

// doors has what a VM sends to some of the gateway's ports come to others, and lets nothing else pass there.
func (r *rules) doors(chain string, address netip.Addr, redirects []model.Redirect) {
	pass := [][]expr.Any{rule(state(expr.CtStateBitNEW), moreThan(maxConnections), drop())}
	for _, d := range redirects {
		protocol := byte(unix.IPPROTO_TCP)
		if d.UDP {
			protocol = unix.IPPROTO_UDP
		}
		pass = append(pass, rule(transport(protocol), toPort(d.To), accept()))
		key := append(address.AsSlice(), protocol, 0, 0, 0)
		key = append(binary.BigEndian.AppendUint16(key, d.Port), 0, 0)
		r.add(mapRedirects, nftables.SetElement{Key: key, Val: binary.BigEndian.AppendUint16(nil, d.To)})
	}
	r.chain(r.ip, chain, pass...)
	r.add(mapDoors, nftables.SetElement{Key: address.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}})
}

func (r *rules) add(m string, e nftables.SetElement) {
	r.note(r.SetAddElements(r.maps[m], []nftables.SetElement{e}))
}

// frameRules accept what may come from the tap of a slot: questions for the gateway's hardware address, and IPv4 without
// options, from its own addresses, to the gateway's.
func (h *Host) frameRules(slot int, part netip.Prefix) [][]expr.Any {
	mac, gatewayMAC := model.HardwareAddress(h.o.Instance, slot), model.HardwareAddress(h.o.Instance, 0)
	address, gateway := addressIn(part, slot).AsSlice(), addressIn(part, 0).AsSlice()
	ethernet := []byte{0, 1, 8, 0, 6, 4} // hardware addresses of Ethernet for IPv4, and their lengths
	return [][]expr.Any{
		rule(link(expr.CmpOpNeq, etherSrc, mac), drop()),
		rule(protocol(unix.ETH_P_ARP), packet(arpHeader, ethernet), packet(arpOp, []byte{0, 1}),
			packet(arpMAC, mac), packet(arpFrom, address), packet(arpTo, gateway), accept()),
		rule(protocol(unix.ETH_P_IP), link(expr.CmpOpEq, etherDst, gatewayMAC), packet(ipVersion, []byte{0x45}),
			packet(ipSource, address), accept()),
		rule(drop()),
	}
}

// policy accepts what a policy allows, but for groups. What comes here is of a kind that a VM may send, and goes to where
// some policy reaches.
func (r *rules) policy(id model.VMID, slot int, want Rules) [][]expr.Any {
	all := [][]expr.Any{rule(state(expr.CtStateBitNEW), moreThan(maxConnections), drop())}
	if want.Policy.Kind == model.KindOpen {
		return append(all, rule(accept()))
	}
	listed := want.Policy.Listed()
	for _, e := range want.Policy.Entries {
		switch {
		case e.Domain != "" && listed:
			all = append(all, r.named(id, slot, e)...)
		case e.Public:
			all = append(all, rule(call(chainPublic)))
		case e.Prefix.IsValid():
			all = append(all, destination(e.Prefix, e.Port)...)
		}
	}
	return all
}

// destination accepts what goes to a range, to one port or to any.
func destination(p netip.Prefix, port uint16) [][]expr.Any {
	to := inRange(ipDestination, p)
	if port == 0 {
		return [][]expr.Any{rule(to, accept())}
	}
	return [][]expr.Any{
		rule(to, transport(unix.IPPROTO_TCP), toPort(port), accept()),
		rule(to, transport(unix.IPPROTO_UDP), toPort(port), accept()),
	}
}
