package servertest

import (
	"context"
	"io"

	"banger/internal/image"
	"banger/internal/model"
)

// DefaultImage is the built-in one.
func (s *Images) DefaultImage(context.Context) (string, error) { return model.DefaultImage, nil }

// Import reads a stream to its end and adds a row.
func (s *Images) Import(_ context.Context, r image.ImportRequest, _ model.Report) (model.Image, error) {
	if r.Stream != nil {
		if _, err := io.Copy(io.Discard, r.Stream); err != nil {
			return model.Image{}, err
		}
	}
	return s.AddImage(r.Name), nil
}

// Obtain finds an image or adds its row.
func (s *Images) Obtain(ctx context.Context, w image.Want, report model.Report) (model.Image, error) {
	if i, err := s.Image(ctx, w.Ref); err == nil {
		return i, nil
	}
	return s.Pull(ctx, w, report)
}

// Pull adds a row.
func (s *Images) Pull(_ context.Context, w image.Want, _ model.Report) (model.Image, error) {
	return s.AddImage(w.Ref), nil
}

// Register adds a row.
func (s *Images) Register(_ context.Context, r image.RegisterRequest, _ model.Report) (model.Image, error) {
	return s.AddImage(r.Name), nil
}

// Tag finds an image and shows it under another name.
func (s *Images) Tag(ctx context.Context, ref, name string) (model.Image, error) {
	i, err := s.Image(ctx, ref)
	i.Tags = append(i.Tags, name)
	return i, err
}

// Promote finds an image.
func (s *Images) Promote(ctx context.Context, ref string) (model.Image, error) {
	return s.Image(ctx, ref)
}

// Prune tells of every image and removes none. It counts the calls that would.
func (s *Images) Prune(ctx context.Context, _, dryRun bool) (image.Pruned, error) {
	all, err := s.Images(ctx)
	if !dryRun {
		s.mu.Lock()
		s.pruned++
		s.mu.Unlock()
	}
	return image.Pruned{Images: all}, err
}

// Pruned is how often something was to be removed.
func (s *Images) Pruned() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pruned
}
