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

func (s *service) pin(ctx context.Context, c serve.Caller, r *helperv1.PinAddressesRequest, _ []*os.File) (*helperv1.PinAddressesResponse, error) {
	id, err := serve.VM(r.GetVm())
	if err != nil {
		return nil, err
	}
	if n := len(r.GetAddresses()); n > hostnet.MostPinAddresses {
		return nil, model.Errorf(model.ErrInvalid, "cannot take %d addresses at once, at most %d", n, hostnet.MostPinAddresses)
	}
	p := hostnet.Pin{Entries: r.GetEntries(), Life: time.Duration(r.GetSeconds()) * time.Second}
	for _, data := range r.GetAddresses() {
		addr, ok := netip.AddrFromSlice(data)
		if !ok {
			return nil, model.Errorf(model.ErrInvalid, "cannot take an address of %d bytes", len(data))
		}
		p.Addresses = append(p.Addresses, addr)
	}
	done, err := s.turns.Take(ctx, c.Instance)
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.PinAddressesResponse{}, s.hosts(c).PinAddresses(ctx, id, int(r.GetSlot()), p)
}

// PinAddresses is hostnet.Host's. The life is in whole seconds.
func (c *Client) PinAddresses(ctx context.Context, id model.VMID, slot int, p hostnet.Pin) error {
	if slot < 1 || slot > hostnet.MaxSlot {
		return model.Errorf(model.ErrUnsupported, "cannot let %s reach what a name stands for: its number is %d, and a bridge has addresses for %d", id, slot, hostnet.MaxSlot)
	}
	request := &helperv1.PinAddressesRequest{Vm: string(id), Slot: uint32(slot), Entries: p.Entries, Seconds: uint32(p.Life / time.Second)}
	for _, addr := range p.Addresses {
		request.Addresses = append(request.Addresses, addr.AsSlice())
	}
	return c.wire.Call(ctx, request, &helperv1.PinAddressesResponse{})
}
