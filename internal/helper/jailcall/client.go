// Package jailcall carries the verbs of package jail from an ordinary user's daemon to the privileged helper.
package jailcall

import (
	"context"
	"errors"
	"os"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/jail"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

// Client has the verbs of a jail.Host, done by the helper.
//
// Whoever takes the helper away has it take its jails along. So where there is none, what is there can be seen by anybody,
// and if that is nothing, VMs can be stopped and deleted.
type Client struct {
	wire wire.Client
	seen *jail.Host // asked for what needs no rights
}

// New returns a client for the helper that listens at socket. It touches nothing.
func New(socket string, instance model.InstanceID) *Client {
	return &Client{
		wire: wire.Client{Socket: socket, Instance: instance},
		seen: jail.New(jail.Options{Instance: instance, UID: os.Geteuid(), GID: os.Getegid()}),
	}
}

// Problem says why there are no jails here, with what would help, or is "".
func (c *Client) Problem() string {
	return c.wire.Problem("jails", &helperv1.CheckJailRequest{}, &helperv1.CheckJailResponse{})
}

// Program is jail.Host's.
func (c *Client) Program() string { return c.seen.Program() }

// UID is jail.Host's.
func (c *Client) UID(slot int) (int, error) { return c.seen.UID(slot) }

// Path is jail.Host's.
func (c *Client) Path(id model.VMID) string { return c.seen.Path(id) }

// Process is jail.Host's.
func (c *Client) Process(id model.VMID) (pid int, err error) { return c.seen.Process(id) }

// Stock is jail.Host's.
func (c *Client) Stock() string { return c.seen.Stock() }

// LeaveStock does nothing: an empty directory goes with the next jail that is the last, or with the helper.
func (c *Client) LeaveStock() error { return nil }

// There is jail.Host's.
func (c *Client) There(id model.VMID) bool { return c.seen.There(id) }

// Start is jail.Host's.
func (c *Client) Start(ctx context.Context, id model.VMID, s jail.Spec, lock, log *os.File) (jail.VM, error) {
	request := &helperv1.StartJailRequest{
		Vm: string(id), Slot: uint32(s.Slot), Vcpus: uint32(s.VCPUs), MemoryBytes: uint64(s.MemoryBytes),
		Network: helperv1.JailNetwork(s.Network),
	}
	files := []*os.File{lock, log}
	for _, d := range s.Drives {
		request.Drives = append(request.Drives, &helperv1.JailDrive{Snapshot: d.File == nil, ReadOnly: d.ReadOnly})
		if d.File != nil {
			files = append(files, d.File)
		}
	}
	var answer helperv1.StartJailResponse
	err := c.wire.Call(ctx, request, &answer, files...)
	return fromWire(answer.GetJail()), err
}

// OpenTap is jail.Host's.
func (c *Client) OpenTap(ctx context.Context, id model.VMID) (*os.File, error) {
	got, err := c.wire.Ask(ctx, &helperv1.OpenJailTapRequest{Vm: string(id)}, &helperv1.OpenJailTapResponse{}, 1)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// Kill is jail.Host's.
func (c *Client) Kill(ctx context.Context, id model.VMID) error {
	return c.unlessGone(id, c.wire.Call(ctx, &helperv1.KillJailRequest{Vm: string(id)}, &helperv1.KillJailResponse{}))
}

// Remove is jail.Host's.
func (c *Client) Remove(ctx context.Context, id model.VMID) error {
	return c.unlessGone(id, c.wire.Call(ctx, &helperv1.RemoveJailRequest{Vm: string(id)}, &helperv1.RemoveJailResponse{}))
}

// unlessGone is nil for the error that there is no helper, when there is no jail either.
func (c *Client) unlessGone(id model.VMID, err error) error {
	if errors.Is(err, wire.ErrAbsent) && !c.seen.There(id) {
		return nil
	}
	return err
}

// List is jail.Host's, which anybody can see.
func (c *Client) List(ctx context.Context) ([]jail.VM, error) { return c.seen.List(ctx) }
