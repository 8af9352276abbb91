package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"

	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/apierror"
	"banger/internal/model"
	"banger/internal/operation"
	"banger/internal/version"
)

// observe is the outermost interceptor: it gives each request an operation id, which stands on every log line of it, turns a panic
// into that request's error, and errors into what travels.
func (s *Server) observe(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		log := s.log.With(operation.ID(model.NewOperationID()))
		info, _ := connect.CallInfoForServerContext(ctx)
		info.ResponseHeader().Set(version.HeaderVersion, version.Version)
		info.ResponseHeader().Set(version.HeaderProtocol, strconv.Itoa(version.API))
		start := time.Now()
		err := recovered(operation.WithLogger(ctx, log), next, spec, stream)
		if err != nil {
			log.Info("request failed", "call", spec.Procedure, "error", err, "took", time.Since(start))
		} else {
			log.Debug("request", "call", spec.Procedure, "took", time.Since(start))
		}
		return apierror.ToRPC(err)
	}
}

// endStreams ends what stays open (commands, leases, logs that are followed, operations that are watched) when the daemon
// stops: no such thing may keep it.
func (s *Server) endStreams(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		if spec.StreamType == connect.StreamTypeUnary {
			return next(ctx, spec, stream)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-s.stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := next(ctx, spec, stream)
		select {
		case <-s.stopping:
			if ctx.Err() != nil {
				return model.Errorf(model.ErrUnavailable, "the daemon is stopping; running VMs stay; run the command again")
			}
		default:
		}
		return err
	}
}

func recovered(ctx context.Context, next connect.ServerFunc, spec connect.Spec, stream connect.ServerStream) (err error) {
	defer func() {
		if p := recover(); p != nil {
			operation.Logger(ctx).Error("request panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return next(ctx, spec, stream)
}

// requireProtocol refuses clients that speak another protocol. Status and Stop are for every client: they are how one
// finds out, and what one does about it.
func requireProtocol(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		switch spec.Procedure {
		case bangerv1connect.DaemonServicePingProcedure, bangerv1connect.DaemonServiceStatusProcedure,
			bangerv1connect.DaemonServiceStopProcedure:
			return next(ctx, spec, stream)
		}
		info, _ := connect.CallInfoForServerContext(ctx)
		protocol := info.RequestHeader().Get(version.HeaderProtocol)
		if protocol != "" && protocol != strconv.Itoa(version.API) {
			return model.Errorf(model.ErrUnsupported,
				"cannot talk to the daemon: it is version %s (protocol %d), this command is %s (protocol %s); run: banger daemon restart; running VMs stay",
				version.Version, version.API, info.RequestHeader().Get(version.HeaderVersion), protocol)
		}
		return next(ctx, spec, stream)
	}
}
