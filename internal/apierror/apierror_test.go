package apierror_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect/v2"

	"banger/internal/apierror"
	"banger/internal/model"
)

func TestEveryKindTravels(t *testing.T) {
	t.Parallel()
	codes := map[connect.Code]error{}
	for _, kind := range []error{
		model.ErrNotFound, model.ErrExists, model.ErrInvalid, model.ErrState, model.ErrUnavailable, model.ErrDenied,
		model.ErrNoSpace, model.ErrCorrupt, model.ErrTimeout, model.ErrCanceled, model.ErrUnsupported,
	} {
		sent := fmt.Errorf("while testing: %w", model.Errorf(kind, "cannot do it: %v", kind))
		var verdict *connect.Error
		if !errors.As(apierror.ToRPC(sent), &verdict) {
			t.Fatalf("%v: no verdict", kind)
		}
		if other, used := codes[verdict.Code()]; used {
			t.Errorf("%v and %v have one code", kind, other)
		}
		codes[verdict.Code()] = kind
		got := apierror.FromRPC(verdict.WithRemote())
		if model.KindOf(got) != kind || got.Error() != sent.Error() {
			t.Errorf("%v arrives as %v of kind %v", sent, got, model.KindOf(got))
		}
	}
}

func TestErrorsWithoutKind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		code connect.Code
		text string
	}{
		{"internal", errors.New("a bug"), connect.CodeInternal, "a bug"},
		{"canceled", context.Canceled, connect.CodeCanceled, "context canceled"},
		{"a guest's verdict", connect.NewError(connect.CodeNotFound, "says the guest").WithRemote(), connect.CodeInternal, "not_found: says the guest"},
		{"our own verdict", connect.NewError(connect.CodeAborted, "says us"), connect.CodeAborted, "says us"},
	} {
		var verdict *connect.Error
		if !errors.As(apierror.ToRPC(tt.err), &verdict) || verdict.Code() != tt.code || verdict.Message() != tt.text || verdict.IsRemote() {
			t.Errorf("%s: got %v", tt.name, verdict)
		}
	}
	if apierror.ToRPC(nil) != nil || apierror.FromRPC(nil) != nil {
		t.Error("no error became one")
	}
}
