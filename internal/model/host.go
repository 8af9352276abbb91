package model

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// HostErrorf is Errorf for an err that came from the host's kernel or from a context: its kind is worked out of err. The
// message is the format followed by ": " and err. An err of no known kind stays without one (an internal error).
func HostErrorf(err error, format string, args ...any) error {
	msg := fmt.Sprintf(format, args...)
	kind := KindOf(err)
	if kind == nil {
		kind = hostKind(err)
	}
	if kind == nil {
		return fmt.Errorf("%s: %w", msg, err)
	}
	return &Error{Kind: kind, Msg: msg + ": " + err.Error(), Cause: err}
}

func hostKind(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrNoSpace
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ErrDenied
	case errors.Is(err, context.Canceled):
		return ErrCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	}
	return nil
}
