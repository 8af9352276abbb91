package hostnet

import (
	"errors"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// The maps and chains that all VMs of an installation share.
const (
	mapPorts     = "ports"     // the tap: the chain of its frames
	mapGuests    = "guests"    // the address: the chain of its policy
	mapPeers     = "peers"     // the address: the chain of its groups
	mapDenied    = "refused"   // the address: the chain that remembers what it was refused
	mapRedirects = "redirects" // the address, and a port that it uses at the gateway: the one there that this leads to
	mapDoors     = "doors"     // the address: the chain of what its redirects lead to

	chainKinds   = "kinds"   // leaves what a VM may send of each kind of packet
	chainOut     = "out"     // from a VM to elsewhere
	chainBetween = "between" // from a VM to another
	chainHost    = "host"    // from a VM to the host
	chainIn      = "in"      // to a VM
	chainPublic  = "public"  // accepts what is the internet
	chainRefuse  = "refuse"
)

const dnsPort = 53 // at which the host itself is answered

// rules are an installation's tables, with the transaction that is being put together. To be closed.
type rules struct {
	*nftables.Conn
	socket *mdnetlink.Conn // that of Conn
	h      *Host
	frames *nftables.Table
	ip     *nftables.Table
	maps   map[string]*nftables.Set
	sets   uint32 // how many sets the transaction makes
	seen   *tables
	err    error
}

func (h *Host) newRules() (*rules, error) {
	r := &rules{
		h: h, maps: map[string]*nftables.Set{},
		frames: &nftables.Table{Name: h.table(), Family: nftables.TableFamilyBridge},
		ip:     &nftables.Table{Name: h.table(), Family: nftables.TableFamilyIPv4},
	}
	return r, r.open()
}

func (r *rules) close() {
	closeLater(r.closeNow)
}

func (r *rules) closeNow() { _ = r.CloseLasting() }

// commit has the kernel take the transaction, whole or not at all. Another one may follow.
func (r *rules) commit() error {
	if r.err != nil {
		return r.err
	}
	err := r.Flush()
	r.maps, r.sets, r.seen = map[string]*nftables.Set{}, 0, nil
	if err != nil { // what it has left to say is not the answer to anything
		_ = r.CloseLasting()
		err = errors.Join(err, r.open())
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return model.Errorf(model.ErrUnsupported, "the kernel did not take the rules, of which it may lack a kind: %w; "+
			"try: modprobe -a nft_ct nft_connlimit nft_fib_ipv4 nft_masq nft_nat nft_reject_ipv4", err)
	}
	return err
}

func (r *rules) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *rules) newMap(t *nftables.Table, name string, key, data nftables.SetDatatype) {
	m := &nftables.Set{Table: t, Name: name, IsMap: true, KeyType: key, DataType: data, Concatenation: name == mapRedirects}
	if key == nftables.TypeIFName {
		m.KeyByteOrder = binaryutil.NativeEndian // as nft(8) takes it to be
	}
	r.newSet(m)
	r.maps[name] = m
}

// newSet makes a set or map where there is none. It is numbered within its transaction: the library would count in a
// variable that all share, unguarded.
func (r *rules) newSet(s *nftables.Set, elements ...nftables.SetElement) {
	r.sets++
	s.ID = r.sets
	r.note(r.AddSet(s, elements))
}

// chain fills a chain anew.
func (r *rules) chain(t *nftables.Table, name string, all ...[]expr.Any) {
	r.fill(r.AddChain(&nftables.Chain{Table: t, Name: name}), all)
}

// hook fills a chain through which packets come from the kernel.
func (r *rules) hook(t *nftables.Table, kind nftables.ChainType, name string, at *nftables.ChainHook, priority *nftables.ChainPriority, all ...[]expr.Any) {
	r.fill(r.AddChain(&nftables.Chain{Table: t, Name: name, Type: kind, Hooknum: at, Priority: priority}), all)
}

func (r *rules) fill(c *nftables.Chain, all [][]expr.Any) {
	r.FlushChain(c)
	for _, exprs := range all {
		r.AddRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: exprs})
	}
}

// shared makes what all VMs share, or makes it whole again, and notes that it is.
func (r *rules) shared(t tables, part netip.Prefix) {
	r.AddTable(r.frames)
	r.AddTable(r.ip)
	r.newMaps()
	for _, c := range t.notes {
		if c.Name != r.h.note(part) {
			r.DelChain(c)
		}
	}
	r.AddChain(&nftables.Chain{Table: r.ip, Name: r.h.note(part)})
	r.sharedFrames()
	r.sharedKinds()
	r.sharedPaths(part)
	r.sharedHooks(part)
}

// newMaps makes the maps where they are not there, and has them known to the transaction.
func (r *rules) newMaps() {
	r.newMap(r.frames, mapPorts, nftables.TypeIFName, nftables.TypeVerdict)
	r.newMap(r.ip, mapGuests, nftables.TypeIPAddr, nftables.TypeVerdict)
	r.newMap(r.ip, mapPeers, nftables.TypeIPAddr, nftables.TypeVerdict)
	r.newMap(r.ip, mapDenied, nftables.TypeIPAddr, nftables.TypeVerdict)
	r.newMap(r.ip, mapDoors, nftables.TypeIPAddr, nftables.TypeVerdict)
	r.newMap(r.ip, mapRedirects, nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService), nftables.TypeInetService)
}

// sharedFrames is what may come from a tap, and go to one, at all: what the VM's own chain lets through. A tap without
// one is shut.
func (r *rules) sharedFrames() {
	priority := nftables.ChainPriorityRef(-300) // before all that reads more of a frame
	group := []byte{0x01, 0x80, 0xc2, 0, 0}     // addresses that a bridge takes for itself, past the other chains
	taps := r.h.taps()
	r.hook(r.frames, nftables.ChainTypeFilter, "prerouting", nftables.ChainHookPrerouting, priority,
		rule(by(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, r.maps[mapPorts])),
		rule(devices(expr.MetaKeyIIFNAME, taps), drop()),
	)
	r.hook(r.frames, nftables.ChainTypeFilter, "input", nftables.ChainHookInput, priority,
		rule(devices(expr.MetaKeyIIFNAME, taps), link(expr.CmpOpEq, etherDst, group), drop()),
	)
	r.hook(r.frames, nftables.ChainTypeFilter, "forward", nftables.ChainHookForward, priority,
		rule(devices(expr.MetaKeyIIFNAME, taps), drop()),
		rule(devices(expr.MetaKeyOIFNAME, taps), drop()),
	)
	toMany := []expr.Any{
		field(expr.PayloadBaseLLHeader, etherDst, 1),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{1}, Xor: []byte{0}},
		compare(expr.CmpOpNeq, []byte{0}),
	}
	r.hook(r.frames, nftables.ChainTypeFilter, "postrouting", nftables.ChainHookPostrouting, priority,
		rule(devices(expr.MetaKeyOIFNAME, taps), toMany, drop()),
	)
}

// sharedKinds has the chains that others end in or call.
func (r *rules) sharedKinds() {
	const echoReply, echoRequest = 0, 8
	r.chain(r.ip, chainRefuse,
		rule(by(field(expr.PayloadBaseNetworkHeader, ipSource, 4), r.maps[mapDenied])),
		rule(transport(unix.IPPROTO_TCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}),
		rule(transport(unix.IPPROTO_UDP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}}),
		rule([]expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 13}}),
	)
	r.chain(r.ip, chainKinds,
		rule(state(expr.CtStateBitINVALID), drop()),
		rule(transport(unix.IPPROTO_TCP), goBack()),
		rule(transport(unix.IPPROTO_UDP), goBack()),
		rule(transport(unix.IPPROTO_ICMP), icmpType(echoRequest), goBack()),
		rule(transport(unix.IPPROTO_ICMP), icmpType(echoReply), state(expr.CtStateBitESTABLISHED), goBack()),
		rule(drop()),
	)
	var public [][]expr.Any
	for _, p := range model.PrivateRanges() {
		public = append(public, rule(inRange(ipDestination, p.Prefix), goBack()))
	}
	r.chain(r.ip, chainPublic, append(public, rule(ordinary(), accept()))...)
}

// sharedPaths has the ways of packets.
func (r *rules) sharedPaths(part netip.Prefix) {
	gateway := addressIn(part, 0).AsSlice()
	answers := state(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	out := [][]expr.Any{rule(call(chainKinds))}
	for _, p := range model.UnreachableRanges() {
		out = append(out, rule(inRange(ipDestination, p.Prefix), goTo(chainRefuse)))
	}
	source := field(expr.PayloadBaseNetworkHeader, ipSource, 4)
	r.chain(r.ip, chainOut, append(out, rule(by(source, r.maps[mapGuests])), rule(goTo(chainRefuse)))...)
	r.chain(r.ip, chainBetween, rule(call(chainKinds)), rule(by(source, r.maps[mapPeers])), rule(goTo(chainRefuse)))
	r.chain(r.ip, chainHost,
		rule(answering(), answers, accept()),
		rule(packet(ipDestination, gateway), transport(unix.IPPROTO_ICMP), call(chainKinds)),
		rule(packet(ipDestination, gateway), transport(unix.IPPROTO_ICMP), accept()),
		rule(redirected(), packet(ipDestination, gateway), by(source, r.maps[mapDoors])),
		rule(goTo(chainOut)),
	)
	r.chain(r.ip, chainIn, rule(answering(), answers, accept()), rule(state(expr.CtStateBitRELATED), accept()), rule(drop()))
}

// sharedHooks sends packets on their ways. What is accepted here may still be dropped in somebody else's table.
func (r *rules) sharedHooks(part netip.Prefix) {
	const redirect = 5
	bridge, filter, nat := r.h.bridge(), nftables.ChainTypeFilter, nftables.ChainTypeNAT
	from, to := device(expr.MetaKeyIIFNAME, expr.CmpOpEq, bridge), device(expr.MetaKeyOIFNAME, expr.CmpOpEq, bridge)
	past := devices(expr.MetaKeyIIFNAME, r.h.taps()) // what reaches the host beside the bridge
	r.hook(r.ip, filter, "forward", nftables.ChainHookForward, nftables.ChainPriorityFilter,
		rule(past, drop()),
		rule(from, to, goTo(chainBetween)),
		rule(from, goTo(chainOut)),
		rule(to, goTo(chainIn)),
		rule(inRange(ipSource, part), drop()),
	)
	r.hook(r.ip, filter, "input", nftables.ChainHookInput, nftables.ChainPriorityFilter,
		rule(past, drop()),
		rule(from, goTo(chainHost)),
		rule(device(expr.MetaKeyIIFNAME, expr.CmpOpNeq, "lo"), inRange(ipDestination, part), drop()),
	)
	r.hook(r.ip, filter, "output", nftables.ChainHookOutput, nftables.ChainPriorityFilter,
		rule(to, transport(unix.IPPROTO_ICMP), icmpType(redirect), drop()),
		rule(to, state(expr.CtStateBitNEW), user(r.h.o.UID), accept()),
		rule(to, state(expr.CtStateBitNEW), drop()),
	)
	door := []expr.Any{
		field(expr.PayloadBaseNetworkHeader, ipSource, 4),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: secondWord},
		&expr.Payload{DestRegister: thirdWord, Base: expr.PayloadBaseTransportHeader, Offset: portDst, Len: 2},
		&expr.Lookup{SourceRegister: register, IsDestRegSet: true, DestRegister: register, SetName: mapRedirects, SetID: r.maps[mapRedirects].ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegProtoMin: register},
	}
	asked := packet(ipDestination, addressIn(part, 0).AsSlice())
	r.hook(r.ip, nat, "prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest,
		rule(from, asked, transport(unix.IPPROTO_UDP), door),
		rule(from, asked, transport(unix.IPPROTO_TCP), door),
	)
	elsewhere := rule(device(expr.MetaKeyOIFNAME, expr.CmpOpNeq, bridge), device(expr.MetaKeyOIFNAME, expr.CmpOpNeq, "lo"))
	r.hook(r.ip, nat, "postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource,
		rule(inRange(ipSource, part), elsewhere, []expr.Any{&expr.Masq{}}),
	)
}
