package image

import (
	"context"
	"errors"
	"slices"

	"banger/internal/crash"
	"banger/internal/model"
)

// Tag gives the image that ref means one more name, taken from whichever image had it.
func (s *Service) Tag(ctx context.Context, ref, name string) (model.Image, error) {
	i, err := s.Image(ctx, ref)
	if err != nil {
		return i, err
	}
	n, err := newName(name)
	if err != nil {
		return i, err
	}
	if err := s.giveName(ctx, n.String(), i.Digest); err != nil {
		return i, err
	}
	return s.Image(ctx, string(i.Digest))
}

func (s *Service) giveName(ctx context.Context, name string, d model.Digest) error {
	crash.At("image.name.before")
	err := s.catalog.NameImage(ctx, name, d)
	crash.At("image.name.after")
	return err
}

func (s *Service) unname(ctx context.Context, name string) error {
	crash.At("image.unname.before")
	err := s.catalog.UnnameImage(ctx, name)
	crash.At("image.unname.after")
	return err
}

// Promote makes the image that ref means the one for whoever names none. It is the name that is promoted: another image
// that takes it over is the default from then on.
func (s *Service) Promote(ctx context.Context, ref string) (model.Image, error) {
	i, err := s.Image(ctx, ref)
	if errors.Is(err, model.ErrNotFound) && ref == model.DefaultImage {
		return model.Image{Name: ref}, s.setDefault(ctx, ref) // it is built when it is next needed
	}
	if err != nil {
		return i, err
	}
	name := tagMeant(i, ref)
	if name == "" {
		name = i.Name
	}
	if name == "" {
		return i, model.Errorf(model.ErrState, "cannot make image %s the default: it has no name; give it one with: banger image tag %s NAME", i.Digest.Short(), i.Digest.Short())
	}
	return i, s.setDefault(ctx, name)
}

func (s *Service) setDefault(ctx context.Context, name string) error {
	crash.At("image.promote.before")
	err := s.catalog.SetDefaultImage(ctx, name)
	crash.At("image.promote.after")
	return err
}

// promoted says whether an image has the name that was promoted. The built-in default is none: it is built again.
func (s *Service) promoted(ctx context.Context, i model.Image) (string, bool, error) {
	name, err := s.DefaultImage(ctx)
	return name, name != model.DefaultImage && slices.Contains(i.Tags, name), err
}
