package storagecall

import (
	"context"
	"os"
	"slices"
	"strings"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/jail"
	"banger/internal/helper/serve"
	"banger/internal/helper/storage"
	"banger/internal/model"
)

// Host has the verbs. Each is safe to be called for different VMs at once.
type Host interface {
	Problem() string
	Attach(ctx context.Context, id model.VMID, base, cow *os.File) (storage.Snapshot, error)
	Detach(ctx context.Context, id model.VMID) error
	List(ctx context.Context) ([]storage.Snapshot, error)
}

// OnHost is this host's kernel as a caller's installation may use it.
func OnHost(c serve.Caller) Host {
	return storage.New(storage.Options{
		Instance: c.Instance, UID: c.UID, GID: c.GID, Jails: jail.New(jail.Options{Instance: c.Instance, UID: c.UID, GID: c.GID}),
	})
}

// page is how many snapshots one answer tells of: a message holds them, whatever the names are.
const page = 128

// Verbs are the service's, done by what hosts gives for a caller. Calls for one VM wait for each other, and for others that
// take turns by vms.
func Verbs(vms *serve.VMs, hosts func(serve.Caller) Host) []serve.Verb {
	s := &service{hosts, vms}
	return []serve.Verb{
		serve.On(0, s.check),
		serve.On(2, s.attach),
		serve.On(0, s.detach),
		serve.On(0, s.list),
	}
}

type service struct {
	hosts func(serve.Caller) Host
	vms   *serve.VMs
}

func (s *service) check(_ context.Context, c serve.Caller, _ *helperv1.CheckStorageRequest, _ []*os.File) (*helperv1.CheckStorageResponse, error) {
	return &helperv1.CheckStorageResponse{Problem: s.hosts(c).Problem()}, nil
}

func (s *service) attach(ctx context.Context, c serve.Caller, r *helperv1.AttachRequest, files []*os.File) (*helperv1.AttachResponse, error) {
	id, done, err := s.vms.Take(ctx, c, r.GetVm())
	if err != nil {
		return nil, err
	}
	defer done()
	made, err := s.hosts(c).Attach(ctx, id, files[0], files[1])
	return &helperv1.AttachResponse{Snapshot: toWire(made)}, err
}

func (s *service) detach(ctx context.Context, c serve.Caller, r *helperv1.DetachRequest, _ []*os.File) (*helperv1.DetachResponse, error) {
	id, done, err := s.vms.Take(ctx, c, r.GetVm())
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.DetachResponse{}, s.hosts(c).Detach(ctx, id)
}

func (s *service) list(ctx context.Context, c serve.Caller, r *helperv1.ListSnapshotsRequest, _ []*os.File) (*helperv1.ListSnapshotsResponse, error) {
	if after := model.VMID(r.GetAfter()); after != "" && !after.Valid() {
		return nil, model.Errorf(model.ErrInvalid, "cannot list snapshots after %.64q: that is no id", after)
	}
	all, err := s.hosts(c).List(ctx)
	if err != nil {
		return nil, err
	}
	at, _ := slices.BinarySearchFunc(all, r.GetAfter()+"\x00", func(s storage.Snapshot, after string) int { return strings.Compare(string(s.ID), after) })
	all = all[at:]
	answer := &helperv1.ListSnapshotsResponse{More: len(all) > page}
	for _, s := range all[:min(page, len(all))] {
		answer.Snapshots = append(answer.Snapshots, toWire(s))
	}
	return answer, nil
}

func toWire(s storage.Snapshot) *helperv1.Snapshot {
	return &helperv1.Snapshot{Vm: string(s.ID), BaseLoop: s.BaseLoop, CowLoop: s.COWLoop, Name: s.Name, Dev: s.Dev, Node: s.Node, Lost: s.Lost}
}

func fromWire(s *helperv1.Snapshot) storage.Snapshot {
	return storage.Snapshot{
		ID: model.VMID(s.GetVm()), BaseLoop: s.GetBaseLoop(), COWLoop: s.GetCowLoop(), Name: s.GetName(), Dev: s.GetDev(), Node: s.GetNode(),
		Lost: s.GetLost(),
	}
}
