package jailcall

import (
	"context"
	"os"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/jail"
	"banger/internal/helper/serve"
	"banger/internal/helper/storage"
	"banger/internal/model"
)

// Host has the verbs. Each is safe to be called for different VMs at once.
type Host interface {
	Problem() string
	Start(ctx context.Context, id model.VMID, s jail.Spec, lock, log *os.File) (jail.VM, error)
	OpenTap(ctx context.Context, id model.VMID) (*os.File, error)
	Kill(ctx context.Context, id model.VMID) error
	Remove(ctx context.Context, id model.VMID) error
}

// OnHost is this host as a caller's installation may use it.
func OnHost(c serve.Caller) Host {
	return jail.New(jail.Options{Instance: c.Instance, UID: c.UID, GID: c.GID})
}

const held = 2 // the descriptors before those of drives

// Verbs are those of jails, done by what hosts gives for a caller. Calls for one VM wait for each other, and for others that
// take turns by vms.
func Verbs(vms *serve.VMs, hosts func(serve.Caller) Host) []serve.Verb {
	s := &service{hosts, vms}
	return []serve.Verb{
		serve.On(0, s.check),
		serve.OnSome(held, held+storage.MaxDrives, s.start),
		serve.Handing(s.openTap),
		serve.On(0, s.kill),
		serve.On(0, s.remove),
	}
}

type service struct {
	hosts func(serve.Caller) Host
	vms   *serve.VMs
}

func (s *service) check(_ context.Context, c serve.Caller, _ *helperv1.CheckJailRequest, _ []*os.File) (*helperv1.CheckJailResponse, error) {
	return &helperv1.CheckJailResponse{Problem: s.hosts(c).Problem()}, nil
}

func (s *service) start(ctx context.Context, c serve.Caller, r *helperv1.StartJailRequest, files []*os.File) (*helperv1.StartJailResponse, error) {
	spec, err := specOf(r, files[held:])
	if err != nil {
		return nil, err
	}
	id, done, err := s.vms.Take(ctx, c, r.GetVm())
	if err != nil {
		return nil, err
	}
	defer done()
	made, err := s.hosts(c).Start(ctx, id, spec, files[0], files[1])
	return &helperv1.StartJailResponse{Jail: toWire(made)}, err
}

// specOf gives each drive that is no snapshot its file.
func specOf(r *helperv1.StartJailRequest, files []*os.File) (jail.Spec, error) {
	s := jail.Spec{Slot: int(r.GetSlot()), VCPUs: int(r.GetVcpus()), Network: jail.Network(r.GetNetwork())}
	if r.GetMemoryBytes() > uint64(model.MaxMemoryBytes) || len(r.GetDrives()) > storage.MaxDrives {
		return s, model.Errorf(model.ErrInvalid, "cannot run a VMM with %d bytes of memory and %d drives", r.GetMemoryBytes(), len(r.GetDrives()))
	}
	s.MemoryBytes = int64(r.GetMemoryBytes())
	for _, d := range r.GetDrives() {
		drive := jail.Drive{ReadOnly: d.GetReadOnly()}
		if !d.GetSnapshot() {
			if len(files) == 0 {
				return s, model.Errorf(model.ErrInvalid, "cannot run a VMM with more drives than descriptors")
			}
			drive.File, files = files[0], files[1:]
		}
		s.Drives = append(s.Drives, drive)
	}
	if len(files) > 0 {
		return s, model.Errorf(model.ErrInvalid, "cannot run a VMM with more descriptors than drives")
	}
	return s, nil
}

func (s *service) openTap(ctx context.Context, c serve.Caller, r *helperv1.OpenJailTapRequest) (*helperv1.OpenJailTapResponse, []*os.File, error) {
	id, done, err := s.vms.Take(ctx, c, r.GetVm())
	if err != nil {
		return nil, nil, err
	}
	defer done()
	tap, err := s.hosts(c).OpenTap(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return &helperv1.OpenJailTapResponse{}, []*os.File{tap}, nil
}

func (s *service) kill(ctx context.Context, c serve.Caller, r *helperv1.KillJailRequest, _ []*os.File) (*helperv1.KillJailResponse, error) {
	id, done, err := s.vms.Take(ctx, c, r.GetVm())
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.KillJailResponse{}, s.hosts(c).Kill(ctx, id)
}

func (s *service) remove(ctx context.Context, c serve.Caller, r *helperv1.RemoveJailRequest, _ []*os.File) (*helperv1.RemoveJailResponse, error) {
	id, done, err := s.vms.Take(ctx, c, r.GetVm())
	if err != nil {
		return nil, err
	}
	defer done()
	return &helperv1.RemoveJailResponse{}, s.hosts(c).Remove(ctx, id)
}

func toWire(v jail.VM) *helperv1.Jail {
	return &helperv1.Jail{Vm: string(v.ID), Dir: v.Dir, Cgroup: v.Cgroup, Uid: uint32(v.UID), Pid: uint32(v.PID), Loops: v.Loops}
}

func fromWire(j *helperv1.Jail) jail.VM {
	return jail.VM{
		ID: model.VMID(j.GetVm()), Dir: j.GetDir(), Cgroup: j.GetCgroup(), UID: int(j.GetUid()), PID: int(j.GetPid()), Loops: j.GetLoops(),
	}
}
