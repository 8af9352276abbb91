package image

import (
	"context"
	"errors"

	"banger/internal/crash"
	"banger/internal/model"
)

// Pruned is what Prune has removed, or would remove.
type Pruned struct {
	Images     []model.Image
	Layers     int   // that were downloaded, and are only of use to another pull
	LayerBytes int64 // what they take
	Bytes      int64 // what all of it takes
}

// Prune removes the images that neither a VM nor a name holds (with all, those that no VM does, but for the promoted one,
// which nobody could make again) and the downloaded layers.
// With dryRun it only says what would go. Layers that a pull needs just now stay.
func (s *Service) Prune(ctx context.Context, all, dryRun bool) (Pruned, error) {
	var p Pruned
	used, err := s.catalog.UsedImages(ctx)
	if err != nil {
		return p, err
	}
	images, err := s.Images(ctx)
	if err != nil {
		return p, err
	}
	var errs []error
	for _, i := range images {
		if used[i.Digest] || i.Name != "" && !all {
			continue
		}
		if _, has, err := s.promoted(ctx, i); has || err != nil {
			errs = append(errs, err)
			continue
		}
		if !dryRun {
			err := s.remove(ctx, kindImage, i.Digest, func() error { return s.catalog.DeleteImage(ctx, i.Digest) })
			if errors.Is(err, model.ErrState) {
				continue // a VM was made of it in this moment
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		p.Images = append(p.Images, i)
		p.Bytes += i.DiskBytes
	}
	errs = append(errs, s.alone(s.layersDir(), func() error { return s.pruneLayers(&p, dryRun) }))
	return p, errors.Join(errs...)
}

func (s *Service) pruneLayers(p *Pruned, dryRun bool) error {
	var err error
	if p.Layers, p.LayerBytes, err = s.layerCache().Usage(); err != nil {
		return err
	}
	p.Bytes += p.LayerBytes
	if dryRun {
		return nil
	}
	crash.At("image.prune.before-layers")
	err = s.layerCache().Clear()
	crash.At("image.prune.after-layers")
	return err
}
