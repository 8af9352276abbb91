package model

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
)

func TestHostErrorKinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want error
	}{
		{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, ErrNoSpace},
		{syscall.EDQUOT, ErrNoSpace},
		{&os.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, ErrDenied},
		{syscall.EROFS, ErrDenied},
		{context.Canceled, ErrCanceled},
		{context.DeadlineExceeded, ErrTimeout},
		{Errorf(ErrCorrupt, "bad"), ErrCorrupt},
		{io.ErrUnexpectedEOF, nil},
		{syscall.ENOENT, nil}, // a missing file is not a missing VM: only the caller knows what it means
	} {
		got := HostErrorf(c.err, "cannot do %d things", 3)
		if KindOf(got) != c.want {
			t.Errorf("%v: kind %v, want %v", c.err, KindOf(got), c.want)
		}
		if !errors.Is(got, c.err) {
			t.Errorf("%v: the cause is lost", c.err)
		}
		if want := "cannot do 3 things: " + c.err.Error(); got.Error() != want {
			t.Errorf("message %q, want %q", got, want)
		}
	}
}
