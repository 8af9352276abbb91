package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

func (s *imageService) Tag(ctx context.Context, r *bangerv1.TagImageRequest) (*bangerv1.TagImageResponse, error) {
	i, err := s.images.Tag(ctx, r.GetRef(), r.GetName())
	if err != nil {
		return nil, err
	}
	return &bangerv1.TagImageResponse{Image: imageMessage(i)}, nil
}

func (s *imageService) Promote(ctx context.Context, r *bangerv1.PromoteImageRequest) (*bangerv1.PromoteImageResponse, error) {
	i, err := s.images.Promote(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	m := imageMessage(i)
	m.Default = true
	return &bangerv1.PromoteImageResponse{Image: m}, nil
}
