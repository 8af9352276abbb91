package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
	"banger/api/banger/v1/bangerv1connect"
	"banger/internal/image"
	"banger/internal/model"
)

func (s *imageService) Pull(ctx context.Context, r *bangerv1.PullImageRequest, stream bangerv1connect.ImageServicePullServerStream) error {
	policy := image.PullAlways
	if r.GetPolicy() != "" {
		var err error
		if policy, err = image.ParsePolicy(r.GetPolicy()); err != nil {
			return err
		}
	}
	w := image.Want{Ref: r.GetRef(), Policy: policy, Platform: r.GetPlatform(), Insecure: r.GetInsecure()}
	return s.operate(ctx, "image-pull", w.Ref, stream.Send, func(ctx context.Context, report model.Report) (model.Image, error) {
		if policy == image.PullAlways {
			return s.images.Pull(ctx, w, report)
		}
		return s.images.Obtain(ctx, w, report)
	})
}
