package netcall

import (
	"context"
	"net/netip"
	"os"
	"time"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/serve"
	"banger/internal/model"
)

func (s *service) denials(ctx context.Context, c serve.Caller, r *helperv1.ListDenialsRequest, _ []*os.File) (*helperv1.ListDenialsResponse, error) {
	id, err := serve.VM(r.GetVm())
	if err != nil {
		return nil, err
	}
	all, err := s.hosts(c).Denials(ctx, id)
	if err != nil {
		return nil, err
	}
	answer := &helperv1.ListDenialsResponse{}
	for _, d := range all { // as many as the kernel remembers, which a message holds
		answer.Denials = append(answer.Denials, &helperv1.Denial{
			Protocol: uint32(d.Protocol), Address: d.To.Addr().AsSlice(), Port: uint32(d.To.Port()), Packets: d.Packets, LastUnixMs: d.Last.UnixMilli(),
		})
	}
	return answer, nil
}

// Denials is hostnet.Host's.
func (c *Client) Denials(ctx context.Context, id model.VMID) ([]hostnet.Denial, error) {
	var answer helperv1.ListDenialsResponse
	if err := c.wire.Call(ctx, &helperv1.ListDenialsRequest{Vm: string(id)}, &answer); err != nil {
		return nil, err
	}
	var all []hostnet.Denial
	for _, d := range answer.GetDenials() {
		addr, _ := netip.AddrFromSlice(d.GetAddress())
		all = append(all, hostnet.Denial{
			Protocol: uint8(d.GetProtocol()), To: netip.AddrPortFrom(addr, uint16(d.GetPort())),
			Packets: d.GetPackets(), Last: time.UnixMilli(d.GetLastUnixMs()),
		})
	}
	return all, nil
}
