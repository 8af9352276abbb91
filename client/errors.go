package client

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"

	"banger/internal/apierror"
	"banger/internal/model"
)

// plain turns an error of the RPC layer into one of the model's: the daemon's own verdict, the caller's cancellation, or
// a connection that broke.
func plain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var verdict *connect.Error
	if errors.As(err, &verdict) && verdict.IsRemote() {
		return apierror.FromRPC(verdict)
	}
	if ctx.Err() != nil {
		return model.Errorf(model.ErrCanceled, "canceled: %w", context.Cause(ctx))
	}
	if known := model.KindOf(err); known != nil {
		return err
	}
	return model.Errorf(model.ErrUnavailable, "the daemon went away before it had answered; VMs go on without it; run the command again, or see: banger daemon logs (%w)", err)
}
