package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

func (s *imageService) Prune(ctx context.Context, r *bangerv1.PruneImagesRequest) (*bangerv1.PruneImagesResponse, error) {
	p, err := s.images.Prune(ctx, r.GetAll(), r.GetDryRun())
	if err != nil {
		return nil, err
	}
	res := &bangerv1.PruneImagesResponse{Layers: int32(p.Layers), LayerBytes: p.LayerBytes, FreedBytes: p.Bytes}
	for _, i := range p.Images {
		res.Images = append(res.Images, imageMessage(i))
	}
	return res, nil
}
