package image

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/image/refname"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

// Images lists all images by name; those without one come first.
func (s *Service) Images(ctx context.Context) ([]model.Image, error) {
	all, err := s.catalog.Images(ctx)
	sortImages(all)
	return all, err
}

// Image returns the image that ref means: a name, a digest, or a unique prefix of a digest of at least four digits.
func (s *Service) Image(ctx context.Context, ref string) (model.Image, error) {
	all, err := s.Images(ctx)
	if err != nil {
		return model.Image{}, err
	}
	return findImage(all, ref)
}

// BuildImage makes the default image anew under name. One that is there is returned as it is, unless force is set: then
// the new one takes its name over. A build that another one of the same name has outrun takes that one's result.
func (s *Service) BuildImage(ctx context.Context, name string, force bool, report model.Report) (model.Image, error) {
	n, err := newName(name)
	if err != nil {
		return model.Image{}, err
	}
	name = n.String()
	asked := time.Now()
	report(model.Progress{Stage: "wait for builds of " + name + " before this one"})
	lock, err := s.claimName(ctx, name)
	if err != nil {
		return model.Image{}, err
	}
	defer lock.Drop() //nolint:errcheck // an empty file, which the next one takes
	if err := s.Adopt(ctx); err != nil {
		return model.Image{}, err
	}
	switch there, err := s.Image(ctx, name); {
	case err == nil && slices.Contains(there.Tags, name) && (!force || there.CreatedAt.After(asked)):
		return as(there, name), nil
	case err != nil && !errors.Is(err, model.ErrNotFound):
		return model.Image{}, err
	}
	build := func(ctx context.Context, dir string, work scratch) (fresh, error) {
		made, err := s.recipe.image(ctx, dir, work, report)
		made.Name = name
		return made, err
	}
	made, err := s.create(ctx, build, report)
	return made, s.explain(ctx, err, "build image "+name)
}

// newName checks a name that an image is to have.
func newName(text string) (refname.Name, error) {
	n, err := refname.Parse(text)
	if err == nil && n.Digest() != "" {
		return n, model.Errorf(model.ErrInvalid, "%s cannot be an image's name: a digest says what an image is, and is not given", n)
	}
	return n, err
}

// DeleteImage takes the name ref from its image and, where that was the last one or ref is a digest, removes the image.
// It returns the image as it was. ErrState when the image would go and a VM uses it, or when the promoted name would go.
func (s *Service) DeleteImage(ctx context.Context, ref string) (model.Image, error) {
	i, err := s.Image(ctx, ref)
	if err != nil {
		return model.Image{}, err
	}
	tag := tagMeant(i, ref)
	switch name, has, err := s.promoted(ctx, i); {
	case err != nil:
		return model.Image{}, err
	case has && (tag == "" || tag == name):
		return model.Image{}, model.Errorf(model.ErrState, "cannot delete image %s: %s is the default image; make another one the default first, such as with: banger image promote %s",
			ref, name, model.DefaultImage)
	case tag != "" && len(i.Tags) > 1:
		return i, s.unname(ctx, tag)
	}
	lock, err := s.claimName(ctx, i.Name)
	if err != nil {
		return model.Image{}, err
	}
	defer lock.Drop() //nolint:errcheck // an empty file, which the next one takes
	return i, s.remove(ctx, kindImage, i.Digest, func() error { return s.catalog.DeleteImage(ctx, i.Digest) })
}

// measure returns a file's digest and sizes. Unless that is known, it makes the digest, and gives back the file's empty blocks.
func measure(ctx context.Context, path string, known model.Digest) (d model.Digest, size, disk int64, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", 0, 0, err
	}
	defer file.Close()
	if d = known; d == "" {
		if d, err = sparse.Seal(ctx, file, nil); err != nil {
			return "", 0, 0, err
		}
	}
	info, err := file.Stat()
	if err != nil {
		return "", 0, 0, err
	}
	disk, err = sparse.Allocated(file)
	return d, info.Size(), disk, err
}

func imageToManifest(i model.Image) *imageManifest { m := imageManifest(i); return &m }
