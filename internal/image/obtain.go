package image

import (
	"context"
	"errors"
	"strings"

	"banger/internal/image/oci"
	"banger/internal/model"
)

// Policy says when an image is pulled.
type Policy string

// The policies. The zero Policy is PullMissing.
const (
	PullMissing Policy = "missing"
	PullAlways  Policy = "always"
	PullNever   Policy = "never"
)

// ParsePolicy reads a policy; "" is PullMissing.
func ParsePolicy(text string) (Policy, error) {
	switch p := Policy(text); p {
	case "":
		return PullMissing, nil
	case PullMissing, PullAlways, PullNever:
		return p, nil
	}
	return "", model.Errorf(model.ErrInvalid, "%.80q is no answer to when to pull: always, missing and never are", text)
}

// Want is which image somebody wants.
type Want struct {
	Ref      string // "" for the default image
	Policy   Policy
	Platform string // of a pulled one; "" for the VMs' own
	Insecure bool   // the registry may speak plain HTTP, or have an unknown certificate
}

// DefaultImage returns the name of the image for whoever names none.
func (s *Service) DefaultImage(ctx context.Context) (string, error) {
	name, err := s.catalog.DefaultImage(ctx)
	if name == "" {
		name = model.DefaultImage
	}
	return name, err
}

// Obtain returns the image that is wanted. The default image is built and any other reference is pulled when it is
// missing, or when the policy says so; of several that ask at once, in any number of processes, one does it and the
// others wait. A promoted image that is missing is an error: its name is this host's, and may be somebody else's elsewhere.
func (s *Service) Obtain(ctx context.Context, w Want, report model.Report) (model.Image, error) {
	promoted := w.Ref == ""
	if promoted {
		var err error
		if w.Ref, err = s.DefaultImage(ctx); err != nil {
			return model.Image{}, err
		}
	}
	found, err := s.Image(ctx, w.Ref)
	if promoted && errors.Is(err, model.ErrNotFound) && w.Ref != model.DefaultImage {
		return found, model.Errorf(model.ErrNotFound, "cannot find the default image %q: no image has that name any more; make another one the default with: "+
			"banger image promote IMAGE, such as banger image promote %s", w.Ref, model.DefaultImage)
	}
	if err == nil {
		err = fits(found, w)
	}
	switch {
	case err != nil && !errors.Is(err, model.ErrNotFound):
		return found, err
	case w.Policy == PullNever:
		return found, never(w.Ref, err)
	case err == nil && (w.Policy != PullAlways || found.Reference == "" || strings.HasPrefix(w.Ref, "sha256:")):
		return as(found, w.Ref), nil // what was built or imported here is nowhere else
	case err != nil && w.Ref == model.DefaultImage:
		return s.BuildImage(ctx, w.Ref, false, report)
	case err != nil && strings.HasPrefix(w.Ref, "sha256:"):
		return found, err
	}
	return s.pullMissing(ctx, w, err, report)
}

func (s *Service) pullMissing(ctx context.Context, w Want, missing error, report model.Report) (model.Image, error) {
	pulled, err := s.Pull(ctx, w, report)
	if kind := model.KindOf(err); missing != nil && kind != nil && !errors.Is(err, model.ErrCanceled) {
		return pulled, model.Errorf(kind, "there is no image %q on this host, and %w; see: banger image list", w.Ref, err)
	}
	return pulled, err
}

func never(ref string, err error) error {
	if err == nil {
		return nil
	}
	return model.Errorf(model.ErrNotFound, "cannot find image %q, and --pull never keeps it from being pulled: run banger image list to see those there are", ref)
}

// fits says whether an image is for the platform that is wanted.
func fits(i model.Image, w Want) error {
	if w.Platform == "" || i.Platform == "" {
		return nil
	}
	want, err := oci.ParsePlatform(w.Platform)
	if err != nil {
		return err
	}
	if i.Platform != want.String() {
		return model.Errorf(model.ErrNotFound, "cannot find image %q for %s: the one here is for %s", w.Ref, want, i.Platform)
	}
	return nil
}
