package guest

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "banger/api/agent/v1"
	"banger/internal/model"
	"banger/internal/network"
)

// Config is what a guest shall be. The same generation twice is a no-op in the guest.
type Config struct {
	Generation int64 // at least 1, grows with each start
	Hostname   string
	MachineID  string     // 32 hexadecimal digits
	Join       model.Join // how the root disk's drives make the root
	Root       []string   // the serials of those drives, in the join's order
	Work       string     // that of the drive for the user's home; "" for none
	Modules    string     // that of the drive with the kernel's modules; "" for none
	Init       model.InitMode
	InitPath   string   // for InitSystemd
	Env        []string // NAME=value, for every command
	User       string   // who runs commands; "" for root
	Workdir    string   // where commands start, made when it is missing; "" for the user's home
	StopSignal int      // what asks the main command to end when the guest stops; 0 for TERM
	Link       network.Link
	Time       time.Time // zero leaves the guest's clock alone
	Entropy    []byte
	CA         []byte // more certificate authorities for the root to trust, PEM
}

// Configure makes the guest what c says and returns when commands can run in its root.
func (g *Guest) Configure(ctx context.Context, c Config) error {
	req := &agentv1.ConfigureRequest{
		Generation: c.Generation, Hostname: c.Hostname, MachineId: c.MachineID, Root: c.Root, Work: c.Work, Modules: c.Modules,
		InitPath: c.InitPath, Env: c.Env, User: c.User, Workdir: c.Workdir, Entropy: c.Entropy, Ca: c.CA,
		StopSignal: int32(c.StopSignal),
	}
	if c.Join == model.JoinOverlay {
		req.Join = agentv1.Join_JOIN_OVERLAY
	}
	if c.Init == model.InitSystemd {
		req.Init = agentv1.Init_INIT_SYSTEMD
	}
	if c.Link.Kind != network.LinkNone {
		req.Link = link(c.Link)
	}
	if !c.Time.IsZero() {
		req.Time = timestamppb.New(c.Time)
	}
	_, err := g.rpc.Configure(ctx, req)
	return fromRPC("cannot configure the guest", err)
}

func link(l network.Link) *agentv1.Link {
	out := &agentv1.Link{Mac: l.MAC, Mtu: uint32(l.MTU), Search: l.Search}
	if l.Address.IsValid() {
		out.Address = l.Address.String()
	}
	if l.Gateway.IsValid() {
		out.Gateway = l.Gateway.String()
	}
	for _, server := range l.DNS {
		out.Dns = append(out.Dns, server.String())
	}
	return out
}
