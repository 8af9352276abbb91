package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/vm"
)

type operationService struct {
	operations *operation.Runner
}

func (s *operationService) Cancel(_ context.Context, r *bangerv1.CancelOperationRequest) (*bangerv1.CancelOperationResponse, error) {
	if err := s.operations.Cancel(model.OperationID(r.GetId())); err != nil {
		return nil, err
	}
	return &bangerv1.CancelOperationResponse{}, nil
}

// eventSender is the sending half that all streams of operation events have.
type eventSender func(*bangerv1.OperationEvent) error

// watch sends an operation's events until it has ended, and returns its result, which is not sent yet, with how it ended.
// A watcher that leaves is the error of send or of ctx; the operation goes on.
func watch(ctx context.Context, op *operation.Operation, send eventSender) (result any, err error) {
	if err := send(&bangerv1.OperationEvent{OperationId: string(op.ID())}); err != nil {
		return nil, err
	}
	for e := range op.Events(ctx) {
		if e.Result != nil {
			result = e.Result
			continue
		}
		if err := send(eventMessage(op.ID(), e)); err != nil {
			return nil, err
		}
	}
	return result, op.Wait(ctx)
}

// relay is watch with the end of the stream: the result, or what a failure left behind and its error.
func relay(ctx context.Context, op *operation.Operation, send eventSender) error {
	result, err := watch(ctx, op, send)
	if err != nil {
		return failed(op, result, err, send)
	}
	if result == nil {
		return nil
	}
	return send(resultMessage(op.ID(), result))
}

func failed(op *operation.Operation, result any, err error, send eventSender) error {
	if left, ok := result.(vm.View); ok {
		_ = send(&bangerv1.OperationEvent{
			OperationId: string(op.ID()),
			Event:       &bangerv1.OperationEvent_Left{Left: vmMessage(left)},
		})
	}
	return err
}

func eventMessage(id model.OperationID, e operation.Event) *bangerv1.OperationEvent {
	m := &bangerv1.OperationEvent{OperationId: string(id)}
	switch {
	case e.Progress != nil:
		m.Event = &bangerv1.OperationEvent_Progress{Progress: &bangerv1.Progress{
			Stage: e.Progress.Stage, Done: e.Progress.Done, Total: e.Progress.Total,
		}}
	case e.Warning != "":
		m.Event = &bangerv1.OperationEvent_Warning{Warning: e.Warning}
	}
	return m
}

func resultMessage(id model.OperationID, result any) *bangerv1.OperationEvent {
	m := &bangerv1.OperationEvent{OperationId: string(id)}
	switch r := result.(type) {
	case vm.View:
		m.Event = &bangerv1.OperationEvent_Vm{Vm: vmMessage(r)}
	case model.Image:
		m.Event = &bangerv1.OperationEvent_Image{Image: imageMessage(r)}
	case model.Kernel:
		m.Event = &bangerv1.OperationEvent_Kernel{Kernel: kernelMessage(r)}
	}
	return m
}
