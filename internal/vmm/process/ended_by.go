package process

import (
	"context"

	"banger/internal/model"
)

// endedBy is a process that others end.
type endedBy struct {
	held
	kill func(context.Context) error
}

// Kill returns when the process is dead.
func (e endedBy) Kill(ctx context.Context) error {
	select {
	case <-e.Done():
		return nil
	default:
	}
	if err := e.kill(ctx); err != nil {
		return err
	}
	select {
	case <-e.Done():
		return nil
	case <-ctx.Done():
		return model.HostErrorf(context.Cause(ctx), "cannot see the end of process %d", e.Process().PID)
	}
}
