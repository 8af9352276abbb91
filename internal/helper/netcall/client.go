// Package netcall carries the verbs of package hostnet from an ordinary user's daemon to the privileged helper.
package netcall

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

// Service is the name of the helper's service that answers.
const Service = "network"

// Client has the verbs of a hostnet.Host, done by the helper.
//
// Whoever takes the helper away has it take its networks along. So where there is none, what is there can be seen by
// anybody, and if that is nothing, VMs can be stopped and deleted.
type Client struct {
	wire wire.Client
	seen *hostnet.Host // asked for what needs no rights
}

// New returns a client for the helper that listens at socket. It touches nothing.
func New(socket string, instance model.InstanceID) *Client {
	return &Client{
		wire: wire.Client{Socket: socket, Instance: instance},
		seen: hostnet.New(hostnet.Options{Instance: instance, UID: os.Geteuid()}),
	}
}

// Problem says why there are no taps on a bridge here, with what would help, or is "".
func (c *Client) Problem() string {
	return c.wire.Problem("taps and rules", &helperv1.CheckNetworkRequest{}, &helperv1.CheckNetworkResponse{})
}

// Attach is hostnet.Host's.
func (c *Client) Attach(ctx context.Context, id model.VMID, slot int, want hostnet.Rules) (hostnet.Port, error) {
	if slot < 1 || slot > hostnet.MaxSlot {
		return hostnet.Port{}, model.Errorf(model.ErrUnsupported, "cannot attach %s to the bridge: its number is %d, and a bridge has addresses for %d", id, slot, hostnet.MaxSlot)
	}
	request := &helperv1.AttachPortRequest{Vm: string(id), Slot: uint32(slot), Policy: want.Policy.String(), Wire: want.Wire}
	for _, r := range want.Redirects {
		request.Redirects = append(request.Redirects, &helperv1.Redirect{Udp: r.UDP, Port: uint32(r.Port), To: uint32(r.To)})
	}
	var answer helperv1.AttachPortResponse
	if err := c.wire.Call(ctx, request, &answer); err != nil {
		return hostnet.Port{}, err
	}
	return fromWire(answer.GetPort()), nil
}

// Open is hostnet.Host's.
func (c *Client) Open(ctx context.Context, id model.VMID) (*os.File, error) {
	got, err := c.wire.Ask(ctx, &helperv1.OpenTapRequest{Vm: string(id)}, &helperv1.OpenTapResponse{}, 1)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// Detach is hostnet.Host's.
func (c *Client) Detach(ctx context.Context, id model.VMID) error {
	err := c.wire.Call(ctx, &helperv1.DetachPortRequest{Vm: string(id)}, &helperv1.DetachPortResponse{})
	if errors.Is(err, wire.ErrAbsent) {
		return c.without(ctx, err, func(p hostnet.Port) bool { return p.ID == id })
	}
	return err
}

// Sweep is hostnet.Host's.
func (c *Client) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	if !c.wire.Instance.Valid() {
		return nil // an installation without an id has made nothing
	}
	found, err := c.List(ctx)
	if err != nil {
		return err
	}
	request := &helperv1.SweepPortsRequest{}
	for _, p := range found.Ports { // of all that are kept, these may have something
		if keep[p.ID] && p.ID != "" && !slices.Contains(request.Keep, string(p.ID)) {
			request.Keep = append(request.Keep, string(p.ID))
		}
	}
	err = c.wire.Call(ctx, request, &helperv1.SweepPortsResponse{})
	if errors.Is(err, wire.ErrAbsent) {
		return c.without(ctx, err, func(p hostnet.Port) bool { return p.ID == "" || !keep[p.ID] })
	}
	return err
}

// Recycle is hostnet.Host's.
func (c *Client) Recycle(ctx context.Context) error {
	err := c.wire.Call(ctx, &helperv1.RecyclePortsRequest{}, &helperv1.RecyclePortsResponse{})
	if errors.Is(err, wire.ErrAbsent) {
		return c.unlessSeen(ctx, err, func(f hostnet.Found) bool { return len(f.Left) > 0 })
	}
	return err
}

// Prepare is hostnet.Host's.
func (c *Client) Prepare(ctx context.Context) error {
	err := c.wire.Call(ctx, &helperv1.PreparePortsRequest{}, &helperv1.PreparePortsResponse{})
	if errors.Is(err, wire.ErrAbsent) {
		return c.unlessSeen(ctx, err, func(f hostnet.Found) bool { return f.Bridge != "" })
	}
	return err
}

// unlessSeen is success when nobody sees that there is anything for a helper that is absent to do.
func (c *Client) unlessSeen(ctx context.Context, absent error, something func(hostnet.Found) bool) error {
	found, err := c.seen.Visible(ctx)
	if err != nil {
		return model.HostErrorf(err, "cannot look at the bridge")
	}
	if something(found) {
		return absent
	}
	return nil
}

// without is success when nobody sees a port that was to be taken away by a helper that is absent.
func (c *Client) without(ctx context.Context, absent error, goes func(hostnet.Port) bool) error {
	found, err := c.seen.Visible(ctx)
	if err != nil {
		return model.HostErrorf(err, "cannot look at the bridge")
	}
	if at := slices.IndexFunc(found.Ports, goes); at >= 0 {
		return model.Fixable(model.ErrUnsupported, wire.FixInstall, "cannot take %s away: %w", found.Ports[at].Tap, absent)
	}
	return nil
}

// List is hostnet.Host's. Without a helper it is of what anybody can see: no rules.
func (c *Client) List(ctx context.Context) (hostnet.Found, error) {
	if !c.wire.Instance.Valid() {
		return hostnet.Found{}, nil // an installation without an id has made nothing
	}
	var found hostnet.Found
	request := &helperv1.ListPortsRequest{}
	for {
		var answer helperv1.ListPortsResponse
		if err := c.wire.Call(ctx, request, &answer); errors.Is(err, wire.ErrAbsent) {
			return c.seen.Visible(ctx)
		} else if err != nil {
			return hostnet.Found{}, err
		}
		found.Bridge, found.Tables = answer.GetBridge(), answer.GetTables()
		found.Spare, found.Left = answer.GetSpare(), answer.GetLeft()
		found.Gateway, _ = netip.AddrFromSlice(answer.GetGateway())
		for _, p := range answer.GetPorts() {
			found.Ports, request.After = append(found.Ports, fromWire(p)), &helperv1.Port{Vm: p.GetVm(), Slot: p.GetSlot()}
		}
		if !answer.GetMore() || len(answer.GetPorts()) == 0 {
			break
		}
	}
	slices.SortStableFunc(found.Ports, func(a, b hostnet.Port) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found, nil
}

// Obstacles is hostnet.Host's. A helper of an earlier version knows no commands.
func (c *Client) Obstacles(ctx context.Context) ([]hostnet.Obstacle, error) {
	var answer helperv1.ListObstaclesResponse
	if err := c.wire.Call(ctx, &helperv1.ListObstaclesRequest{}, &answer); err != nil {
		return nil, err
	}
	var all []hostnet.Obstacle
	for i, chain := range answer.GetObstacles() {
		o := hostnet.Obstacle{Chain: chain}
		if i < len(answer.GetFixes()) {
			o.Fix = answer.GetFixes()[i]
		}
		all = append(all, o)
	}
	if n := answer.GetMore(); n > 0 {
		all = append(all, hostnet.Obstacle{Chain: fmt.Sprintf("%d other chains", n)})
	}
	return all, nil
}
