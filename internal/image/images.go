package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/image/sparse"
	"banger/internal/model"
)

// Images lists all images by name; one whose name another took over has none and comes first.
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

// EnsureImage returns the image that ref means. The default image is built when it is missing; of several that ask at
// once, in any number of processes, one builds and the others wait.
func (s *Service) EnsureImage(ctx context.Context, ref string, report model.Report) (model.Image, error) {
	found, err := s.Image(ctx, ref)
	if ref != model.DefaultImage || !errors.Is(err, model.ErrNotFound) {
		return found, err
	}
	return s.BuildImage(ctx, ref, false, report)
}

// BuildImage makes the default image anew under name. One that is there is returned as it is, unless force is set: then
// the new one takes its name over. A build that another one of the same name has outrun takes that one's result.
func (s *Service) BuildImage(ctx context.Context, name string, force bool, report model.Report) (model.Image, error) {
	if err := model.ValidateName("image", name); err != nil {
		return model.Image{}, err
	}
	asked := time.Now()
	lock, err := s.lock(ctx, s.locksDir(), "image-"+name, unix.LOCK_EX)
	if err != nil {
		return model.Image{}, err
	}
	defer lock.Close()
	if err := s.Adopt(ctx); err != nil {
		return model.Image{}, err
	}
	switch there, err := s.Image(ctx, name); {
	case err == nil && there.Name == name && (!force || there.CreatedAt.After(asked)):
		return there, nil
	case err != nil && !errors.Is(err, model.ErrNotFound):
		return model.Image{}, err
	}
	made, err := s.buildImage(ctx, name, report)
	return made, s.explain(ctx, err, "image", name)
}

func (s *Service) buildImage(ctx context.Context, name string, report model.Report) (model.Image, error) {
	s.tidy(ctx)
	d, err := s.newDraft(ctx, kindImage)
	if err != nil {
		return model.Image{}, err
	}
	made, err := s.fillImage(ctx, d, name, report)
	err = errors.Join(err, d.close())
	s.tidy(ctx) // programs of an earlier, killed build may have ended only now
	return made, err
}

func (s *Service) fillImage(ctx context.Context, d *draft, name string, report model.Report) (model.Image, error) {
	work, err := s.newScratch(ctx)
	if err != nil {
		return model.Image{}, err
	}
	made, err := s.recipe.image(ctx, d.dir, work, report)
	if err := errors.Join(err, work.close()); err != nil {
		return model.Image{}, err
	}
	crash.At("image.build.before-digest")
	report(model.Progress{Stage: "verify the image"})
	made.Name = name
	made.Digest, made.SizeBytes, made.DiskBytes, err = measure(ctx, filepath.Join(d.dir, rootFile))
	if err != nil {
		return model.Image{}, err
	}
	made.CreatedAt = time.Now().UTC()
	m := manifest{
		Format: manifestFormat, Image: imageToManifest(made),
		Files: map[string]fileInfo{rootFile: {Digest: made.Digest, Bytes: made.SizeBytes}},
	}
	if err := ctx.Err(); err != nil {
		return model.Image{}, err
	}
	return made, s.publish(d, m, func() error { return s.insertImage(ctx, made) })
}

// insertImage writes an image's row. The packages may not have changed since an earlier build: then the row is there.
func (s *Service) insertImage(ctx context.Context, made model.Image) error {
	err := s.catalog.InsertImage(ctx, made)
	if !errors.Is(err, model.ErrExists) {
		return err
	}
	all, lerr := s.catalog.Images(ctx)
	if lerr != nil {
		return lerr
	}
	for _, i := range all {
		if i.Digest == made.Digest && i.Name == made.Name {
			return nil
		}
	}
	return err
}

// DeleteImage removes the image that ref means and returns it as it was. ErrState when a VM uses it.
func (s *Service) DeleteImage(ctx context.Context, ref string) (model.Image, error) {
	i, err := s.Image(ctx, ref)
	if err != nil {
		return model.Image{}, err
	}
	lock, err := s.lock(ctx, s.locksDir(), "image-"+i.Name, unix.LOCK_EX)
	if err != nil {
		return model.Image{}, err
	}
	defer lock.Close()
	return i, s.remove(ctx, kindImage, i.Digest, func() error { return s.catalog.DeleteImage(ctx, i.Digest) })
}

// measure gives back a file's empty blocks and returns its digest and its sizes.
func measure(ctx context.Context, path string) (d model.Digest, size, disk int64, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", 0, 0, err
	}
	defer file.Close()
	if err := sparse.Punch(ctx, file); err != nil {
		return "", 0, 0, err
	}
	if d, err = sparse.Digest(ctx, file); err != nil {
		return "", 0, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return "", 0, 0, err
	}
	disk, err = sparse.Allocated(file)
	return d, info.Size(), disk, err
}

func imageToManifest(i model.Image) *imageManifest { m := imageManifest(i); return &m }
