package image

import (
	"context"
	"maps"
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

	promoted string
	fail     error // of the next changes of rows
	late     bool  // they fail after they were made
}

// failing is what a change of a row ends with; it may be made all the same.
func (c *memory) failing() (made bool, err error) { return c.fail == nil || c.late, c.fail }

func (c *memory) Images(context.Context) ([]model.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.images), nil
}

func (c *memory) InsertImage(_ context.Context, i model.Image) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	made, err := c.failing()
	if !made {
		return err
	}
	names := i.Tags
	if len(names) == 0 && i.Name != "" {
		names = []string{i.Name}
	}
	at := slices.IndexFunc(c.images, func(there model.Image) bool { return there.Digest == i.Digest })
	if at < 0 {
		at = len(c.images)
		c.images = append(c.images, model.Image{})
	}
	i.Tags = c.images[at].Tags
	c.images[at] = i
	for _, name := range names {
		c.name(name, i.Digest)
	}
	return err
}

func (c *memory) name(name string, d model.Digest) {
	for j := range c.images {
		i := &c.images[j]
		has := slices.Contains(i.Tags, name)
		switch {
		case i.Digest == d && !has:
			i.Tags = append(slices.Clone(i.Tags), name)
		case i.Digest != d && has:
			i.Tags = slices.DeleteFunc(slices.Clone(i.Tags), func(n string) bool { return n == name })
		}
		i.Name = append(slices.Clone(i.Tags), "")[0]
	}
}

func (c *memory) NameImage(_ context.Context, name string, d model.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.name(name, d)
	return nil
}

func (c *memory) UnnameImage(_ context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.name(name, "")
	return nil
}

func (c *memory) UsedImages(context.Context) (map[model.Digest]bool, error) {
	return maps.Clone(c.used), nil
}

func (c *memory) DefaultImage(context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.promoted, nil
}

func (c *memory) SetDefaultImage(_ context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.promoted = name
	return nil
}

func (c *memory) DeleteImage(_ context.Context, d model.Digest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[d] {
		return model.Errorf(model.ErrState, "cannot delete image %s: a VM uses it", d)
	}
	made, err := c.failing()
	if !made {
		return err
	}
	c.images = slices.DeleteFunc(c.images, func(i model.Image) bool { return i.Digest == d })
	return err
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
