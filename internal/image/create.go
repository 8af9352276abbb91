package image

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
)

// maker makes an image's root file in an empty directory and says what it is and, in Name, what it is called.
type maker func(ctx context.Context, dir string, work scratch) (model.Image, error)

// create has an image made and gives it its row and its name. A failure leaves nothing of it.
func (s *Service) create(ctx context.Context, produce maker, report model.Report) (model.Image, error) {
	s.tidy(ctx)
	d, err := s.newDraft(ctx, kindImage)
	if err != nil {
		return model.Image{}, err
	}
	made, err := s.fill(ctx, d, produce, report)
	err = errors.Join(err, d.close())
	s.tidy(ctx) // programs of an earlier, killed build may have ended only now
	if err != nil {
		return made, err
	}
	there, err := s.Image(ctx, string(made.Digest)) // with the names that it had before
	return as(there, made.Name), err
}

// as has an image go by one of its names: whoever asks for an image under a name is answered with that name.
func as(i model.Image, name string) model.Image {
	if tag := tagMeant(i, name); tag != "" {
		i.Name = tag
	}
	return i
}

func (s *Service) fill(ctx context.Context, d *draft, produce maker, report model.Report) (model.Image, error) {
	work, err := s.newScratch(ctx)
	if err != nil {
		return model.Image{}, err
	}
	made, err := produce(ctx, d.dir, work)
	if err := errors.Join(err, work.close()); err != nil {
		return model.Image{}, err
	}
	crash.At("image.build.before-digest")
	report(model.Progress{Stage: "verify the image"})
	made.Tags = []string{made.Name}
	made.Digest, made.SizeBytes, made.DiskBytes, err = measure(ctx, filepath.Join(d.dir, rootFile))
	if err != nil {
		return model.Image{}, err
	}
	made.CreatedAt = time.Now().UTC()
	m := manifest{
		Format: manifestFormat, Image: imageToManifest(made),
		Files: map[string]fileInfo{rootFile: {Digest: made.Digest, Bytes: made.SizeBytes, Data: true}},
	}
	if err := ctx.Err(); err != nil {
		return model.Image{}, err
	}
	return made, s.publish(d, m, func() error { return s.catalog.InsertImage(ctx, made) })
}
