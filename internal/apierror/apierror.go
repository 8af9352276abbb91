// Package apierror carries errors over the host API: their kind as an RPC code, their sentence as it is.
package apierror

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"

	"banger/internal/model"
)

// kinds is the one table between the model's error kinds and RPC codes.
func kinds() []pair {
	return []pair{
		{model.ErrNotFound, connect.CodeNotFound},
		{model.ErrExists, connect.CodeAlreadyExists},
		{model.ErrInvalid, connect.CodeInvalidArgument},
		{model.ErrState, connect.CodeFailedPrecondition},
		{model.ErrUnavailable, connect.CodeUnavailable},
		{model.ErrDenied, connect.CodePermissionDenied},
		{model.ErrNoSpace, connect.CodeResourceExhausted},
		{model.ErrCorrupt, connect.CodeDataLoss},
		{model.ErrTimeout, connect.CodeDeadlineExceeded},
		{model.ErrCanceled, connect.CodeCanceled},
		{model.ErrUnsupported, connect.CodeUnimplemented},
	}
}

type pair struct {
	kind error
	code connect.Code
}

// Code returns the RPC code of err's kind; CodeInternal for an error of no kind.
func Code(err error) connect.Code {
	kind := model.KindOf(err)
	for _, p := range kinds() {
		if errors.Is(kind, p.kind) {
			return p.code
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return connect.CodeCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded
	}
	return connect.CodeInternal
}

// Kind returns the model's kind of an RPC code, or nil for a code that stands for none.
func Kind(code connect.Code) error {
	for _, p := range kinds() {
		if p.code == code {
			return p.kind
		}
	}
	return nil
}

// ToRPC returns err as the daemon's own verdict, with its whole text: whoever reads it is the user the daemon works for.
// An error that some other peer (a guest) authored is authored anew, so that it is not taken for ours and blanked.
func ToRPC(err error) error {
	if err == nil {
		return nil
	}
	var verdict *connect.Error
	if errors.As(err, &verdict) && !verdict.IsRemote() && model.KindOf(err) == nil {
		return verdict
	}
	return connect.NewError(Code(err), err.Error()).WithCause(err)
}

// FromRPC returns an error of the client's side as one of the model's, with the daemon's sentence.
func FromRPC(err error) error {
	var verdict *connect.Error
	if err == nil || !errors.As(err, &verdict) {
		return err
	}
	message := verdict.Message()
	if message == "" {
		message = "the daemon answered: " + verdict.Code().String()
	}
	return New(verdict.Code(), message)
}

// New makes the model's error of an RPC code and a sentence.
func New(code connect.Code, message string) error {
	if kind := Kind(code); kind != nil {
		return &model.Error{Kind: kind, Msg: message}
	}
	return errors.New(message)
}
