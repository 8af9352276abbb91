package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
)

// maker makes an image's root file in an empty directory and says what it is and, in Name, what it is called.
type maker func(ctx context.Context, dir string, work scratch) (fresh, error)

// fresh is an image that was just made. It has no digest yet.
type fresh struct {
	model.Image
	content model.Digest // of the root file, by sparse.Seal; "" when that was not called yet
}

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

// identity is the digest that an image goes by: that of its file's content. What the image says of how it is used is in
// there, since the file system's UUID depends on it (ext4.Written.Salted). A file that was copied as it is says nothing of
// that, and may be another image's; its image goes by both, lest one of two changes how the other is used.
func identity(made model.Image, content model.Digest) model.Digest {
	if !strings.HasPrefix(made.Source, sourceRegister) {
		return content
	}
	return model.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Appendf(nil, "a copy of %s with the init %q %q", content, made.Init, made.InitPath))))
}

func (s *Service) fill(ctx context.Context, d *draft, produce maker, report model.Report) (model.Image, error) {
	work, err := s.newScratch(ctx)
	if err != nil {
		return model.Image{}, err
	}
	f, err := produce(ctx, d.dir, work)
	if err := errors.Join(err, work.close()); err != nil {
		return model.Image{}, err
	}
	crash.At("image.build.before-digest")
	report(model.Progress{Stage: "store the image"})
	made := f.Image
	made.Tags = []string{made.Name}
	content, size, disk, err := measure(ctx, filepath.Join(d.dir, rootFile), f.content)
	if err != nil {
		return model.Image{}, err
	}
	made.Digest, made.SizeBytes, made.DiskBytes = identity(made, content), size, disk
	made.CreatedAt = time.Now().UTC()
	m := manifest{
		Format: manifestFormat, Image: imageToManifest(made),
		Files: map[string]fileInfo{rootFile: {Digest: content, Bytes: made.SizeBytes, Segments: true}},
	}
	if err := ctx.Err(); err != nil {
		return model.Image{}, err
	}
	return made, s.publish(d, m, func() error { return s.catalog.InsertImage(ctx, made) })
}
