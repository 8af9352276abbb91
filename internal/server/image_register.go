package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/image"
	"banger/internal/model"
)

func (s *imageService) Register(ctx context.Context, r *bangerv1.RegisterImageRequest, stream bangerv1connect.ImageServiceRegisterServerStream) error {
	if err := absolute(r.GetPath()); err != nil {
		return err
	}
	return s.operate(ctx, "image-register", r.GetName(), stream.Send, func(ctx context.Context, report model.Report) (model.Image, error) {
		return s.images.Register(ctx, image.RegisterRequest{Name: r.GetName(), Path: r.GetPath(), InitPath: r.GetInitPath()}, report)
	})
}
