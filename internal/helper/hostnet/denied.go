package hostnet

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

const (
	mostDenied = 256       // destinations that are remembered of one VM; others are refused all the same
	deniedLife = time.Hour // that one is, after it was last wanted
)

// Denial is one destination that a VM wanted and did not get.
type Denial struct {
	Protocol uint8          // as IP numbers them
	To       netip.AddrPort // port 0 where the protocol has none
	Packets  uint64
	Last     time.Time
}

// deniedSet is what the kernel itself remembers of one VM: no process is told of packets, whatever a guest sends.
func (r *rules) deniedSet(id model.VMID, slot int) *nftables.Set {
	return &nftables.Set{
		Table: r.ip, Name: chainOf(chainDenied, id, slot), Dynamic: true, HasTimeout: true, Timeout: deniedLife, Size: mostDenied,
		KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService), Concatenation: true,
	}
}

// denied fills the chain that remembers what is refused, and has packets that are come to it.
func (r *rules) denied(id model.VMID, slot int, address netip.Addr) {
	set, chain := r.deniedSet(id, slot), chainOf(chainDenied, id, slot)
	thPort := &expr.Payload{DestRegister: thirdWord, Base: expr.PayloadBaseTransportHeader, Offset: portDst, Len: 2}
	r.newSet(set)
	r.chain(r.ip, chain,
		rule(transport(unix.IPPROTO_TCP), remember(set, thPort)),
		rule(transport(unix.IPPROTO_UDP), remember(set, thPort)),
		rule(transport(unix.IPPROTO_ICMP), remember(set, &expr.Immediate{Register: thirdWord, Data: make([]byte, 4)})),
	)
	r.add(mapDenied, nftables.SetElement{Key: address.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}})
}

// remember: update @SET { ip daddr . meta l4proto . … counter }, where the last is what last loads.
func remember(set *nftables.Set, last expr.Any) []expr.Any {
	return []expr.Any{
		field(expr.PayloadBaseNetworkHeader, ipDestination, 4),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: secondWord},
		last,
		&expr.Dynset{SrcRegKey: register, SetName: set.Name, SetID: set.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{&expr.Counter{}}},
	}
}

// Denials lists what was refused to a VM lately, newest first: of the last hour, as much as is remembered.
func (h *Host) Denials(ctx context.Context, id model.VMID) ([]Denial, error) {
	fail := func(err error) ([]Denial, error) {
		return nil, model.HostErrorf(err, "cannot tell what was refused to %s", id)
	}
	if err := h.check(id); err != nil {
		return fail(err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	r, err := h.newRules()
	if err != nil {
		return fail(err)
	}
	defer r.closeNow()
	all, err := tablesOf(r.Conn, r.ip.Family)
	if err != nil || !slices.ContainsFunc(all, func(t *nftables.Table) bool { return t.Name == r.ip.Name }) {
		return fail(err)
	}
	sets, err := r.GetSets(r.ip)
	if err != nil {
		return fail(err)
	}
	var found []Denial
	for _, s := range sets {
		if kind, of, _, ok := ownerOfName(s.Name); !ok || of != id || kind != chainDenied {
			continue
		}
		elements, err := elementsOf(r.Conn, s)
		if err != nil {
			return fail(err)
		}
		now := time.Now()
		for _, e := range elements {
			if d, ok := denialOf(e, now); ok {
				found = append(found, d)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Denial) int { return b.Last.Compare(a.Last) })
	return found, nil
}

// denialOf reads what remember wrote.
func denialOf(e nftables.SetElement, now time.Time) (Denial, bool) {
	if len(e.Key) != 12 || e.Counter == nil {
		return Denial{}, false
	}
	addr, _ := netip.AddrFromSlice(e.Key[:4])
	return Denial{
		Protocol: e.Key[4], To: netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Key[8:])),
		Packets: e.Counter.Packets, Last: now.Add(e.Expires - deniedLife),
	}, true
}
