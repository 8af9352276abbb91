// Package client is the Go client of bangerd, the user's daemon.
//
// Dial connects, starting the daemon where there is none; the methods of the Client are the host API, in plain values.
// Long work is an Operation that goes on in the daemon when its client leaves. Errors carry one of the kinds below (test
// with errors.Is) and read as sentences for the user. A Client may be used by many goroutines.
package client

import "banger/internal/model"

// The kinds of error.
var (
	ErrNotFound    = model.ErrNotFound
	ErrExists      = model.ErrExists
	ErrInvalid     = model.ErrInvalid
	ErrState       = model.ErrState
	ErrUnavailable = model.ErrUnavailable // the daemon cannot be reached, or went away
	ErrDenied      = model.ErrDenied
	ErrNoSpace     = model.ErrNoSpace
	ErrCorrupt     = model.ErrCorrupt
	ErrTimeout     = model.ErrTimeout
	ErrCanceled    = model.ErrCanceled
	ErrUnsupported = model.ErrUnsupported
)
