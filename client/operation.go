package client

import (
	"context"
	"errors"
	"io"

	bangerv1 "banger/api/banger/v1"
)

// Operation is long work that the daemon does, as its client sees it. The work goes on when the client leaves; Cancel ends
// it. Wait and Close are for one goroutine, Cancel for any.
type Operation struct {
	id     string
	client *Client
	ctx    context.Context
	stream eventStream
	leased bool // the stream stays open after a result that is leased
	result Result
}

type eventStream interface {
	Receive() (*bangerv1.OperationEvent, error)
	Close() error
}

// Event is something that the user may want to see while an operation runs: progress, or a warning.
type Event struct {
	Stage   string // what is being done now
	Done    int64  // bytes or items so far
	Total   int64  // in all; 0 when that is not known
	Warning string // one line for the user, in an event of its own
}

// Result is what an operation made; the fields that do not apply are nil.
type Result struct {
	VM    *VM // the VM the operation was about; a deleted one as it last was
	Image *Image
	Left  *VM // after a failure: what it left behind
}

// begin waits for the operation's first event: what is wrong with a request is an error here.
func begin(ctx context.Context, c *Client, stream eventStream, err error) (*Operation, error) {
	if err != nil {
		return nil, plain(ctx, err)
	}
	first, err := stream.Receive()
	if err != nil {
		_ = stream.Close()
		return nil, plain(ctx, err)
	}
	return &Operation{id: first.GetOperationId(), client: c, ctx: ctx, stream: stream}, nil
}

// ID is the operation's id, as it stands in the daemon's log.
func (o *Operation) ID() string { return o.id }

// Wait returns how the operation ended. Meanwhile it calls watch, unless that is nil, for each event from the first on.
func (o *Operation) Wait(watch func(Event)) (Result, error) {
	for {
		m, err := o.stream.Receive()
		if errors.Is(err, io.EOF) {
			return o.result, nil
		}
		if err != nil {
			return o.result, plain(o.ctx, err)
		}
		if o.take(m, watch) && o.leased && o.result.VM != nil && o.result.VM.Leased {
			return o.result, nil
		}
	}
}

// take handles one event and says whether it was the result.
func (o *Operation) take(m *bangerv1.OperationEvent, watch func(Event)) bool {
	switch e := m.GetEvent().(type) {
	case *bangerv1.OperationEvent_Progress:
		if watch != nil {
			watch(Event{Stage: e.Progress.GetStage(), Done: e.Progress.GetDone(), Total: e.Progress.GetTotal()})
		}
	case *bangerv1.OperationEvent_Warning:
		if watch != nil {
			watch(Event{Warning: e.Warning})
		}
	case *bangerv1.OperationEvent_Left:
		v := vmValue(e.Left)
		o.result.Left = &v
	case *bangerv1.OperationEvent_Vm:
		v := vmValue(e.Vm)
		o.result.VM = &v
		return true
	case *bangerv1.OperationEvent_Image:
		i := imageValue(e.Image)
		o.result.Image = &i
		return true
	}
	return false
}

// Cancel asks the daemon to undo what the operation did; Wait then returns an ErrCanceled. It is no error when the
// operation has ended meanwhile.
func (o *Operation) Cancel(ctx context.Context) error {
	_, err := o.client.operations.Cancel(ctx, &bangerv1.CancelOperationRequest{Id: o.id})
	if err = plain(ctx, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Close stops watching. It ends the lease of a VM that was created under one. Twice is fine.
func (o *Operation) Close() error { return o.stream.Close() }
