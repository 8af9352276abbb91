package hostnet

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What a rule is put together from: each function is one match or one verdict of nft(8), whose words its comment has.

const register = 1 // the one that all matches use

// The words of it after the first, as the kernel numbers them (NFT_REG32_01 to NFT_REG32_03).
const secondWord, thirdWord, fourthWord = 9, 10, 11

func rule(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: register, Data: data}
}

// ifname is a device's name as sets have it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// device: iifname NAME, oifname NAME, or not.
func device(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}, compare(op, ifname(name))}
}

// devices: iifname BEGINNING*, oifname BEGINNING*.
func devices(key expr.MetaKey, beginning string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}, compare(expr.CmpOpEq, []byte(beginning))}
}

func field(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

// Where the fields are of what VMs may send.
const (
	etherDst, etherSrc, etherType               = 0, 6, 12
	arpHeader, arpOp, arpMAC, arpFrom, arpTo    = 0, 6, 8, 14, 24
	ipVersion, ipSource, ipDestination, portDst = 0, 12, 16, 2
)

func link(op expr.CmpOp, offset uint32, data []byte) []expr.Any {
	return []expr.Any{field(expr.PayloadBaseLLHeader, offset, uint32(len(data))), compare(op, data)}
}

func packet(offset uint32, data []byte) []expr.Any {
	return []expr.Any{field(expr.PayloadBaseNetworkHeader, offset, uint32(len(data))), compare(expr.CmpOpEq, data)}
}

// protocol: ether type TYPE.
func protocol(number uint16) []expr.Any {
	return link(expr.CmpOpEq, etherType, binary.BigEndian.AppendUint16(nil, number))
}

// inRange: ip saddr PREFIX or ip daddr PREFIX.
func inRange(offset uint32, p netip.Prefix) []expr.Any {
	addr := p.Masked().Addr().AsSlice()
	if p.IsSingleIP() {
		return packet(offset, addr)
	}
	return []expr.Any{
		field(expr.PayloadBaseNetworkHeader, offset, 4),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		compare(expr.CmpOpEq, addr),
	}
}

// transport: meta l4proto NUMBER.
func transport(number byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, compare(expr.CmpOpEq, []byte{number})}
}

// toPort: th dport PORT, after transport.
func toPort(port uint16) []expr.Any {
	return []expr.Any{field(expr.PayloadBaseTransportHeader, portDst, 2), compare(expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, port))}
}

// icmpType: icmp type TYPE, after transport.
func icmpType(kind byte) []expr.Any {
	return []expr.Any{field(expr.PayloadBaseTransportHeader, 0, 1), compare(expr.CmpOpEq, []byte{kind})}
}

// state: ct state STATE[,STATE].
func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: register, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}
}

// answering: ct direction reply.
func answering() []expr.Any {
	return []expr.Any{&expr.Ct{Register: register, Key: expr.CtKeyDIRECTION}, compare(expr.CmpOpEq, []byte{1})}
}

// redirected: ct status dnat.
func redirected() []expr.Any {
	const dnat = 1 << 5 // IPS_DST_NAT
	return []expr.Any{
		&expr.Ct{Register: register, Key: expr.CtKeySTATUS},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(dnat), Xor: make([]byte, 4)},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}
}

// ordinary: fib daddr type unicast. Not so are the host's own addresses, and the broadcast addresses of its links.
func ordinary() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(unix.RTN_UNICAST)),
	}
}

// user: meta skuid UID, of the process whose packet it is.
func user(uid int) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeySKUID, Register: register}, compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(uint32(uid)))}
}

// in: ip saddr @SET or ip daddr @SET.
func in(offset uint32, set *nftables.Set) []expr.Any {
	return []expr.Any{
		field(expr.PayloadBaseNetworkHeader, offset, 4),
		&expr.Lookup{SourceRegister: register, SetName: set.Name, SetID: set.ID},
	}
}

// by: … vmap @MAP, of what the last part loaded.
func by(load expr.Any, m *nftables.Set) []expr.Any {
	return []expr.Any{load, &expr.Lookup{SourceRegister: register, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func accept() []expr.Any       { return verdict(expr.VerdictAccept) }
func drop() []expr.Any         { return verdict(expr.VerdictDrop) }
func goBack() []expr.Any       { return verdict(expr.VerdictReturn) }
func goTo(c string) []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: c}} }
func call(c string) []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: c}} }

// moreThan: ct count over N, of what comes to this rule.
func moreThan(n uint32) []expr.Any {
	return []expr.Any{&expr.Connlimit{Count: n, Flags: expr.NFT_CONNLIMIT_F_INV}}
}
