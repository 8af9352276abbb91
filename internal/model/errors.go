package model

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of error. Each is mapped once per edge: the server turns them into RPC codes, the client back, the command
// line into exit codes. Test with errors.Is.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrInvalid     = errors.New("invalid")
	ErrState       = errors.New("not possible in this state")
	ErrUnavailable = errors.New("unavailable")
	ErrDenied      = errors.New("permission denied")
	ErrNoSpace     = errors.New("no space left")
	ErrCorrupt     = errors.New("corrupt")
	ErrTimeout     = errors.New("timed out")
	ErrCanceled    = errors.New("canceled")
	ErrUnsupported = errors.New("not supported here")
)

// Error is an error meant for the user: Msg says what failed and what to do next, Kind says which kind it is.
type Error struct {
	Kind  error  // one of the Err values above
	Msg   string // a sentence that starts with "cannot …" and names the next command where there is one
	Fix   string // the command that mends it, with which Msg ends, or ""
	Cause error  // what a caller may react to, or nil
}

func (e *Error) Error() string { return e.Msg }

// Unwrap gives errors.Is and errors.As both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Errorf makes an Error of the given kind. A %w in the format becomes its cause.
func Errorf(kind error, format string, args ...any) error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Msg: wrapped.Error(), Cause: errors.Unwrap(wrapped)}
}

// Advise is a sentence with the command that mends what it tells, if there is one.
func Advise(text, fix string) string {
	if fix == "" {
		return text
	}
	return text + "; run: " + fix
}

// ShellWord writes a word of a command so that a shell takes it for one.
func ShellWord(word string) string {
	if word != "" && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Fixable is Errorf for what one command mends, if fix is one. The message ends with it.
func Fixable(kind error, fix, format string, args ...any) error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Msg: Advise(wrapped.Error(), fix), Fix: fix, Cause: errors.Unwrap(wrapped)}
}

// Remedy takes an error apart into what is wrong and the command that mends it, "" when none is known.
func Remedy(err error) (what, fix string) {
	what = err.Error()
	for e := (*Error)(nil); errors.As(err, &e); err = e.Cause {
		if e.Fix != "" {
			return strings.TrimSuffix(what, Advise("", e.Fix)), e.Fix
		}
	}
	return what, ""
}

// KindOf returns which of the Err values err is, or nil when it is none of them (an internal error).
func KindOf(err error) error {
	for _, kind := range []error{
		ErrNotFound, ErrExists, ErrInvalid, ErrState, ErrUnavailable, ErrDenied, ErrNoSpace, ErrCorrupt, ErrTimeout,
		ErrCanceled, ErrUnsupported,
	} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}
