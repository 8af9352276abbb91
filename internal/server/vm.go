package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/apierror"
	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/vm"
)

// defaultGrace is how long a stop waits for the guest when the client names no time.
const defaultGrace = 10 * time.Second

type vmService struct {
	vms VMs

	mu    sync.Mutex
	execs map[string]vm.Process // those with a client, by id
}

func newVMService(vms VMs) *vmService {
	return &vmService{vms: vms, execs: map[string]vm.Process{}}
}

func (s *vmService) Create(ctx context.Context, r *bangerv1.CreateVMRequest, stream bangerv1connect.VMServiceCreateServerStream) error {
	if _, err := image.ParsePolicy(r.GetSpec().GetPull()); err != nil {
		return err
	}
	request, err := createRequest(r)
	if err != nil {
		return err
	}
	op, err := s.vms.Create(ctx, request)
	if err != nil {
		return err
	}
	if !r.GetLease() && !r.GetSpec().GetLeaseMain() {
		return relay(ctx, op, stream.Send)
	}
	result, err := watch(ctx, op, stream.Send)
	if err != nil {
		return failed(op, result, err, stream.Send)
	}
	made, ok := result.(vm.View)
	if !ok {
		return model.Errorf(model.ErrUnavailable, "cannot tell which VM was made: see banger vm list")
	}
	if !made.Leased {
		return stream.Send(resultMessage(op.ID(), made))
	}
	release, err := s.vms.HoldLease(ctx, made.ID) // before the client learns of the VM, so that there is no gap
	if err != nil {
		return failed(op, result, err, stream.Send)
	}
	defer release()
	if err := stream.Send(resultMessage(op.ID(), made)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *vmService) HoldLease(ctx context.Context, r *bangerv1.HoldLeaseRequest, stream bangerv1connect.VMServiceHoldLeaseServerStream) error {
	release, err := s.vms.HoldLease(ctx, model.VMID(r.GetId()))
	if err != nil {
		return err
	}
	defer release()
	if err := stream.Send(&bangerv1.HoldLeaseResponse{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *vmService) Start(ctx context.Context, r *bangerv1.StartVMRequest, stream bangerv1connect.VMServiceStartServerStream) error {
	op, err := s.vms.Start(ctx, model.VMID(r.GetId()))
	return relayStarted(ctx, op, err, stream.Send)
}

func (s *vmService) Stop(ctx context.Context, r *bangerv1.StopVMRequest, stream bangerv1connect.VMServiceStopServerStream) error {
	op, err := s.vms.Stop(ctx, model.VMID(r.GetId()), grace(r.GetGrace()))
	return relayStarted(ctx, op, err, stream.Send)
}

func (s *vmService) Restart(ctx context.Context, r *bangerv1.RestartVMRequest, stream bangerv1connect.VMServiceRestartServerStream) error {
	op, err := s.vms.Restart(ctx, model.VMID(r.GetId()), grace(r.GetGrace()))
	return relayStarted(ctx, op, err, stream.Send)
}

func (s *vmService) Kill(ctx context.Context, r *bangerv1.KillVMRequest, stream bangerv1connect.VMServiceKillServerStream) error {
	op, err := s.vms.Kill(ctx, model.VMID(r.GetId()))
	return relayStarted(ctx, op, err, stream.Send)
}

func (s *vmService) Delete(ctx context.Context, r *bangerv1.DeleteVMRequest, stream bangerv1connect.VMServiceDeleteServerStream) error {
	op, err := s.vms.Delete(ctx, model.VMID(r.GetId()))
	return relayStarted(ctx, op, err, stream.Send)
}

func relayStarted(ctx context.Context, op *operation.Operation, err error, send eventSender) error {
	if err != nil {
		return err
	}
	return relay(ctx, op, send)
}

func grace(d *durationpb.Duration) time.Duration {
	if d == nil {
		return defaultGrace
	}
	return d.AsDuration()
}

func (s *vmService) List(ctx context.Context, r *bangerv1.ListVMsRequest) (*bangerv1.ListVMsResponse, error) {
	views, err := s.vms.List(ctx)
	if err != nil {
		return nil, err
	}
	res := &bangerv1.ListVMsResponse{}
	for _, v := range views {
		if !r.GetRunningOnly() || up(v.State) {
			res.Vms = append(res.Vms, vmMessage(v))
		}
	}
	return res, nil
}

// up says whether a VM in state s has, or is just getting or losing, a VMM.
func up(s model.State) bool {
	switch s {
	case model.StateCreating, model.StateStopped, model.StateFailed, model.StateDeleting:
		return false
	}
	return true
}

func (s *vmService) Resolve(ctx context.Context, r *bangerv1.ResolveVMsRequest) (*bangerv1.ResolveVMsResponse, error) {
	resolutions, err := s.vms.Resolve(ctx, r.GetRefs())
	if err != nil {
		return nil, err
	}
	res := &bangerv1.ResolveVMsResponse{}
	for _, one := range resolutions {
		m := &bangerv1.VMResolution{Ref: one.Ref}
		if one.Err != nil {
			m.Error, m.Code = one.Err.Error(), uint32(apierror.Code(one.Err))
		} else {
			m.Vm = vmMessage(*one.VM)
		}
		res.Resolutions = append(res.Resolutions, m)
	}
	return res, nil
}

func (s *vmService) Logs(ctx context.Context, r *bangerv1.LogsVMRequest, stream bangerv1connect.VMServiceLogsServerStream) error {
	return s.vms.Logs(ctx, model.VMID(r.GetId()), r.GetFollow(), r.GetTailBytes(), logWriter{stream})
}

// logWriter cuts what it is given into messages of a size that any client takes.
type logWriter struct {
	stream bangerv1connect.VMServiceLogsServerStream
}

func (w logWriter) Write(p []byte) (int, error) {
	const most = 64 << 10
	for sent := 0; sent < len(p); {
		n := min(most, len(p)-sent)
		if err := w.stream.Send(&bangerv1.LogsVMResponse{Data: p[sent : sent+n]}); err != nil {
			return sent, err
		}
		sent += n
	}
	return len(p), nil
}
