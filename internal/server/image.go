package server

import (
	"context"
	"slices"

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
	promoted, err := s.images.DefaultImage(ctx)
	for _, i := range images {
		m := imageMessage(i)
		m.Default = slices.Contains(i.Tags, promoted)
		res.Images = append(res.Images, m)
	}
	return res, err
}

func (s *imageService) Get(ctx context.Context, r *bangerv1.GetImageRequest) (*bangerv1.GetImageResponse, error) {
	i, err := s.images.Image(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	promoted, err := s.images.DefaultImage(ctx)
	m := imageMessage(i)
	m.Default = slices.Contains(i.Tags, promoted)
	return &bangerv1.GetImageResponse{Image: m}, err
}

func (s *imageService) Build(ctx context.Context, r *bangerv1.BuildImageRequest, stream bangerv1connect.ImageServiceBuildServerStream) error {
	name := r.GetName()
	if name == "" {
		name = model.DefaultImage
	}
	if name != model.DefaultImage {
		return model.Errorf(model.ErrInvalid, "cannot build %q: only %s is built here; other images are pulled or imported, see: banger image --help", name, model.DefaultImage)
	}
	return s.operate(ctx, "image-build", name, stream.Send, func(ctx context.Context, report model.Report) (model.Image, error) {
		return s.images.BuildImage(ctx, name, r.GetForce(), report)
	})
}

// operate makes an image in an operation and tells the client how it goes.
func (s *imageService) operate(ctx context.Context, kind, subject string, send eventSender, produce func(ctx context.Context, report model.Report) (model.Image, error)) error {
	op, err := s.operations.Start(ctx, kind, subject, "", func(ctx context.Context, op *operation.Operation) error {
		i, err := produce(ctx, op.Report)
		if err != nil {
			return err
		}
		op.Result(i)
		return nil
	})
	if err != nil {
		return err
	}
	return relay(ctx, op, send)
}

func (s *imageService) Delete(ctx context.Context, r *bangerv1.DeleteImageRequest) (*bangerv1.DeleteImageResponse, error) {
	i, err := s.images.DeleteImage(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	return &bangerv1.DeleteImageResponse{Image: imageMessage(i)}, nil
}
