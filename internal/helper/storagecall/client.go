// Package storagecall carries the verbs of package storage from an ordinary user's daemon to the privileged helper.
package storagecall

import (
	"context"
	"errors"
	"os"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/storage"
	"banger/internal/helper/wire"
	"banger/internal/model"
)

// Service is the name of the helper's service that answers.
const Service = "storage"

// Client has the verbs of a storage.Host, done by the helper.
//
// Whoever takes the helper away has it take its devices along, those in use at their last close. So that there is none any
// more means that nothing is there but what is about to end, and anybody can see that: VMs can be stopped and deleted.
type Client struct {
	wire wire.Client
	seen *storage.Host // asked for what needs no rights
}

// New returns a client for the helper that listens at socket. It touches nothing.
func New(socket string, instance model.InstanceID) *Client {
	return &Client{
		wire: wire.Client{Socket: socket, Instance: instance},
		seen: storage.New(storage.Options{Instance: instance, UID: os.Geteuid()}),
	}
}

// Problem says why there are no snapshots here, with what would help, or is "".
func (c *Client) Problem() string {
	return c.wire.Problem("snapshots", &helperv1.CheckStorageRequest{}, &helperv1.CheckStorageResponse{})
}

// Attach is storage.Host's.
func (c *Client) Attach(ctx context.Context, id model.VMID, base, cow *os.File) (storage.Snapshot, error) {
	var answer helperv1.AttachResponse
	err := c.wire.Call(ctx, &helperv1.AttachRequest{Vm: string(id)}, &answer, base, cow)
	return fromWire(answer.GetSnapshot()), err
}

// Detach is storage.Host's.
func (c *Client) Detach(ctx context.Context, id model.VMID) error {
	err := c.wire.Call(ctx, &helperv1.DetachRequest{Vm: string(id)}, &helperv1.DetachResponse{})
	if errors.Is(err, wire.ErrAbsent) {
		if gone := c.seen.Gone(ctx, id); gone != nil {
			return model.Fixable(model.ErrUnsupported, wire.FixInstall, "cannot take it away without banger's helper: %w", gone)
		}
		return nil
	}
	return err
}

// List is storage.Host's.
func (c *Client) List(ctx context.Context) ([]storage.Snapshot, error) {
	var all []storage.Snapshot
	after := ""
	for {
		var answer helperv1.ListSnapshotsResponse
		if err := c.wire.Call(ctx, &helperv1.ListSnapshotsRequest{After: after}, &answer); errors.Is(err, wire.ErrAbsent) {
			return c.seen.Visible()
		} else if err != nil {
			return nil, err
		}
		for _, s := range answer.GetSnapshots() {
			all, after = append(all, fromWire(s)), s.GetVm()
		}
		if !answer.GetMore() || len(answer.GetSnapshots()) == 0 {
			return all, nil
		}
	}
}
