package hostnet

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// For each domain in a VM's policy there are a set of the addresses that its name stands for now; a set of the connections
// that it allowed, which go on when it stands for others; and a chain, through which what goes to the one and what is of the
// other comes. They are kept from one change of rules to the next, as long as the entry's words are the same.

// Of a connection that is allowed by a name it is remembered that it was, as long as the kernel takes it for alive, and
// after its last packet for so long.
const (
	openLife   = 24 * time.Hour    // of one that is established
	endingLife = 2 * time.Minute   // of one that begins or ends
	ending     = 150 * time.Second // what the kernel gives such a one is below this
	datagrams  = 3 * time.Minute
)

// leastShare is what an entry has of what all of a VM's share, however many there are.
const leastShare = 256

func share(all, entries int) uint32 {
	return uint32(max(all/max(entries, 1), leastShare))
}

// entryOf is the name of what there is for an entry, of chainNames or chainOpen.
func entryOf(kind string, id model.VMID, slot int, e model.PolicyEntry) string {
	sum := sha256.Sum256([]byte("banger entry " + e.String()))
	return chainOf(kind, id, slot) + "-" + letters.EncodeToString(sum[:])[:entryLength]
}

const entryLength = 16

// pinnedSet is of the addresses. It is made for one of so many entries.
func (r *rules) pinnedSet(id model.VMID, slot int, e model.PolicyEntry, entries int) *nftables.Set {
	return &nftables.Set{
		Table: r.ip, Name: entryOf(chainNames, id, slot, e), KeyType: nftables.TypeIPAddr, HasTimeout: true, Size: share(model.MaxPins, entries),
	}
}

// openSet is of the connections.
func (r *rules) openSet(id model.VMID, slot int, e model.PolicyEntry, entries int) *nftables.Set {
	return &nftables.Set{
		Table: r.ip, Name: entryOf(chainOpen, id, slot, e), Dynamic: true, HasTimeout: true, Timeout: endingLife, Size: share(maxConnections, entries),
		KeyType:       nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeInetService),
		Concatenation: true,
	}
}

// names makes what there is for the domains of a policy where it is not there.
func (r *rules) names(t tables, id model.VMID, slot int, want Rules) {
	entries := want.Policy.Names()
	for _, e := range entries {
		pinned, open := r.pinnedSet(id, slot, e, len(entries)), r.openSet(id, slot, e, len(entries))
		for _, s := range []*nftables.Set{pinned, open} {
			if !slices.ContainsFunc(t.sets, func(had set) bool { return had.Name == s.Name }) {
				r.newSet(s)
			}
		}
		tcp, udp := transport(unix.IPPROTO_TCP), transport(unix.IPPROTO_UDP)
		r.chain(r.ip, pinned.Name,
			rule(tcp, expires(expr.CmpOpLt), noted(open, endingLife)),
			rule(tcp, expires(expr.CmpOpGte), noted(open, openLife)),
			rule(udp, noted(open, datagrams)),
			rule(call(chainPublic)),
		)
	}
}

// forgetNames takes away what there is for entries that a VM's policy does not have any more.
func (r *rules) forgetNames(t tables, id model.VMID, slot int, want Rules) {
	var names []string
	for _, e := range want.Policy.Names() {
		names = append(names, entryOf(chainNames, id, slot, e), entryOf(chainOpen, id, slot, e))
	}
	gone := func(name string) bool {
		kind, of, at, ok := ownerOfName(name)
		return ok && of == id && at == slot && (kind == chainNames || kind == chainOpen) && !slices.Contains(names, name)
	}
	for _, c := range t.chains {
		if gone(c.Name) {
			r.FlushChain(c.Chain)
			r.DelChain(c.Chain)
		}
	}
	for _, s := range t.sets {
		if gone(s.Name) {
			r.DelSet(s.Set)
		}
	}
}

// named has what an entry's name stands for come to the entry's chain, and what that allowed before.
func (r *rules) named(id model.VMID, slot int, e model.PolicyEntry) [][]expr.Any {
	pinned, open := r.pinnedSet(id, slot, e, 0), r.openSet(id, slot, e, 0)
	tcp, udp, to := transport(unix.IPPROTO_TCP), transport(unix.IPPROTO_UDP), in(ipDestination, pinned)
	all := [][]expr.Any{rule(to, call(pinned.Name))}
	if e.Port != 0 {
		all = [][]expr.Any{rule(tcp, toPort(e.Port), to, call(pinned.Name)), rule(udp, toPort(e.Port), to, call(pinned.Name))}
	}
	known := append(connection(), &expr.Lookup{SourceRegister: register, SetName: open.Name})
	for _, protocol := range [][]expr.Any{tcp, udp} {
		all = append(all, rule(protocol, state(expr.CtStateBitESTABLISHED), known, call(pinned.Name)))
	}
	return all
}

// connection loads ip daddr . meta l4proto . th sport . th dport.
func connection() []expr.Any {
	return []expr.Any{
		field(expr.PayloadBaseNetworkHeader, ipDestination, 4),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: secondWord},
		&expr.Payload{DestRegister: thirdWord, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 2},
		&expr.Payload{DestRegister: fourthWord, Base: expr.PayloadBaseTransportHeader, Offset: portDst, Len: 2},
	}
}

// noted: update @SET { ip daddr . meta l4proto . th sport . th dport timeout LIFE }. What a full set does not take is allowed
// as long as the name stands for where it goes.
func noted(set *nftables.Set, life time.Duration) []expr.Any {
	return append(connection(), &expr.Dynset{
		SrcRegKey: register, SetName: set.Name, SetID: set.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: life,
	})
}

// expires: ct expiration < 150s, or not. It is 0 before a connection's first packet has left.
func expires(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: register, Key: expr.CtKeyEXPIRATION},
		&expr.Byteorder{SourceRegister: register, DestRegister: register, Op: expr.ByteorderHton, Len: 4, Size: 4},
		compare(op, binary.BigEndian.AppendUint32(nil, uint32(ending.Milliseconds()))),
	}
}
