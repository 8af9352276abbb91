package image

import (
	"context"
	"slices"
	"sync"

	"banger/internal/model"
)

// memory is a Catalog that keeps its rows in memory. used are the digests that a VM uses.
type memory struct {
	mu      sync.Mutex
	images  []model.Image
	kernels []model.Kernel
	used    map[model.Digest]bool
}

func (c *memory) Images(context.Context) ([]model.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.images), nil
}

func (c *memory) InsertImage(_ context.Context, i model.Image) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for j := range c.images {
		if c.images[j].Digest == i.Digest {
			return model.Errorf(model.ErrExists, "the image %s is there", i.Digest)
		}
	}
	for j := range c.images {
		if c.images[j].Name == i.Name {
			c.images[j].Name = ""
		}
	}
	c.images = append(c.images, i)
	return nil
}

func (c *memory) DeleteImage(_ context.Context, d model.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[d] {
		return model.Errorf(model.ErrState, "cannot delete image %s: a VM uses it", d)
	}
	c.images = slices.DeleteFunc(c.images, func(i model.Image) bool { return i.Digest == d })
	return nil
}

func (c *memory) Kernels(context.Context) ([]model.Kernel, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.kernels), nil
}

func (c *memory) InsertKernel(_ context.Context, k model.Kernel) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for j := range c.kernels {
		if c.kernels[j].Digest == k.Digest {
			return model.Errorf(model.ErrExists, "the kernel %s is there", k.Digest)
		}
	}
	for j := range c.kernels {
		if c.kernels[j].Name == k.Name {
			c.kernels[j].Name = ""
		}
	}
	c.kernels = append(c.kernels, k)
	return nil
}

func (c *memory) DeleteKernel(_ context.Context, d model.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[d] {
		return model.Errorf(model.ErrState, "cannot delete kernel %s: a VM uses it", d)
	}
	c.kernels = slices.DeleteFunc(c.kernels, func(k model.Kernel) bool { return k.Digest == d })
	return nil
}
