package image

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// explain gives an error its kind and says what was being done, such as "build image debian".
func (s *Service) explain(ctx context.Context, err error, doing string) error {
	switch kind := model.KindOf(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return model.Errorf(model.ErrCanceled, "cannot %s: canceled: %w", doing, context.Cause(ctx))
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return model.Errorf(model.ErrNoSpace, "cannot %s: no space is left below %s or %s; nothing of it remains; free some, such as with banger image prune, and %s again: %w", doing, s.dirs.Data, s.dirs.Cache, doing, err)
	case kind != nil && strings.HasPrefix(err.Error(), "cannot "):
		return err // it is a whole sentence
	case kind != nil:
		return model.Errorf(kind, "cannot %s: %w", doing, err)
	default:
		return model.Errorf(model.ErrUnavailable, "cannot %s: %w", doing, err)
	}
}
