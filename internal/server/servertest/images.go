package servertest

import (
	"context"
	"sync"
	"time"

	"banger/internal/model"
)

// Images is an image service that only keeps rows.
type Images struct {
	mu      sync.Mutex
	images  []model.Image
	kernels []model.Kernel
	pruned  int
}

// AddImage makes an image beside the API.
func (s *Images) AddImage(name string) model.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := model.Image{Name: name, Digest: "sha256:1234567890abcdef", Arch: "amd64", Init: model.InitSystemd, CreatedAt: time.Now()}
	s.images = append(s.images, i)
	return i
}

// AddKernel makes a kernel beside the API.
func (s *Images) AddKernel(name string) model.Kernel {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := model.Kernel{Name: name, Digest: "sha256:fedcba0987654321", Arch: "amd64", Release: "6.1.0", CreatedAt: time.Now()}
	s.kernels = append(s.kernels, k)
	return k
}

// Images lists the images.
func (s *Images) Images(context.Context) ([]model.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]model.Image(nil), s.images...), nil
}

// Image finds an image by name.
func (s *Images) Image(_ context.Context, ref string) (model.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.images {
		if i.Name == ref {
			return i, nil
		}
	}
	return model.Image{}, model.Errorf(model.ErrNotFound, "there is no image %q; see: banger image list", ref)
}

// BuildImage adds a row.
func (s *Images) BuildImage(_ context.Context, name string, _ bool, report model.Report) (model.Image, error) {
	report(model.Progress{Stage: "build the image"})
	return s.AddImage(name), nil
}

// DeleteImage forgets the images.
func (s *Images) DeleteImage(ctx context.Context, ref string) (model.Image, error) {
	i, err := s.Image(ctx, ref)
	if err != nil {
		return i, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images = nil
	return i, nil
}

// Kernels lists the kernels.
func (s *Images) Kernels(context.Context) ([]model.Kernel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]model.Kernel(nil), s.kernels...), nil
}

// Kernel finds a kernel by name.
func (s *Images) Kernel(_ context.Context, ref string) (model.Kernel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kernels {
		if k.Name == ref {
			return k, nil
		}
	}
	return model.Kernel{}, model.Errorf(model.ErrNotFound, "there is no kernel %q; see: banger kernel list", ref)
}

// DeleteKernel finds a kernel and keeps it.
func (s *Images) DeleteKernel(ctx context.Context, ref string) (model.Kernel, error) {
	return s.Kernel(ctx, ref)
}
