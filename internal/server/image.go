package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/model"
	"banger/internal/operation"
)

type imageService struct {
	images     Images
	operations *operation.Runner
}

func (s *imageService) List(ctx context.Context, _ *bangerv1.ListImagesRequest) (*bangerv1.ListImagesResponse, error) {
	images, err := s.images.Images(ctx)
	if err != nil {
		return nil, err
	}
	res := &bangerv1.ListImagesResponse{}
	for _, i := range images {
		res.Images = append(res.Images, imageMessage(i))
	}
	return res, nil
}

func (s *imageService) Get(ctx context.Context, r *bangerv1.GetImageRequest) (*bangerv1.GetImageResponse, error) {
	i, err := s.images.Image(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	return &bangerv1.GetImageResponse{Image: imageMessage(i)}, nil
}

func (s *imageService) Build(ctx context.Context, r *bangerv1.BuildImageRequest, stream bangerv1connect.ImageServiceBuildServerStream) error {
	name := r.GetName()
	if name == "" {
		name = model.DefaultImage
	}
	work := func(ctx context.Context, op *operation.Operation) error {
		i, err := s.images.BuildImage(ctx, name, r.GetForce(), op.Report)
		if err != nil {
			return err
		}
		op.Result(i)
		return nil
	}
	op, err := s.operations.Start(ctx, "image-build", name, "", work)
	if err != nil {
		return err
	}
	return relay(ctx, op, stream.Send)
}

func (s *imageService) Delete(ctx context.Context, r *bangerv1.DeleteImageRequest) (*bangerv1.DeleteImageResponse, error) {
	i, err := s.images.DeleteImage(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	return &bangerv1.DeleteImageResponse{Image: imageMessage(i)}, nil
}
