package image

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// explain gives a build's error its kind and says what was being built.
func (s *Service) explain(ctx context.Context, err error, noun, name string) error {
	switch kind := model.KindOf(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return model.Errorf(model.ErrCanceled, "canceled while building %s %s: %w", noun, name, context.Cause(ctx))
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return model.Errorf(model.ErrNoSpace, "cannot build %s %s: no space is left below %s or %s; free some, nothing of the build remains: %w", noun, name, s.dirs.Data, s.dirs.Cache, err)
	case kind != nil:
		return model.Errorf(kind, "cannot build %s %s: %w", noun, name, err)
	default:
		return model.Errorf(model.ErrUnavailable, "cannot build %s %s: %w", noun, name, err)
	}
}
