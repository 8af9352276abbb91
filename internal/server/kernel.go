package server

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

type kernelService struct{ images Images }

func (s *kernelService) List(ctx context.Context, _ *bangerv1.ListKernelsRequest) (*bangerv1.ListKernelsResponse, error) {
	kernels, err := s.images.Kernels(ctx)
	if err != nil {
		return nil, err
	}
	res := &bangerv1.ListKernelsResponse{}
	for _, k := range kernels {
		res.Kernels = append(res.Kernels, kernelMessage(k))
	}
	return res, nil
}

func (s *kernelService) Get(ctx context.Context, r *bangerv1.GetKernelRequest) (*bangerv1.GetKernelResponse, error) {
	k, err := s.images.Kernel(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	return &bangerv1.GetKernelResponse{Kernel: kernelMessage(k)}, nil
}

func (s *kernelService) Delete(ctx context.Context, r *bangerv1.DeleteKernelRequest) (*bangerv1.DeleteKernelResponse, error) {
	k, err := s.images.DeleteKernel(ctx, r.GetRef())
	if err != nil {
		return nil, err
	}
	return &bangerv1.DeleteKernelResponse{Kernel: kernelMessage(k)}, nil
}
