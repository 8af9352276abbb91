package client

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

// Images lists the images by name.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	res, err := c.images.List(ctx, &bangerv1.ListImagesRequest{})
	if err != nil {
		return nil, plain(ctx, err)
	}
	images := make([]Image, 0, len(res.GetImages()))
	for _, m := range res.GetImages() {
		images = append(images, imageValue(m))
	}
	return images, nil
}

// Image finds one image by name, digest or unique prefix of a digest.
func (c *Client) Image(ctx context.Context, ref string) (Image, error) {
	res, err := c.images.Get(ctx, &bangerv1.GetImageRequest{Ref: ref})
	return imageValue(res.GetImage()), plain(ctx, err)
}

// BuildImage makes the image of that name ("" for the default one) unless it exists; with force, again. The result is
// the image.
func (c *Client) BuildImage(ctx context.Context, name string, force bool) (*Operation, error) {
	stream, err := c.images.Build(ctx, &bangerv1.BuildImageRequest{Name: name, Force: force})
	return begin(ctx, c, stream, err)
}

// DeleteImage removes an image that no VM uses and returns it as it was.
func (c *Client) DeleteImage(ctx context.Context, ref string) (Image, error) {
	res, err := c.images.Delete(ctx, &bangerv1.DeleteImageRequest{Ref: ref})
	return imageValue(res.GetImage()), plain(ctx, err)
}

// Kernels lists the kernels by name.
func (c *Client) Kernels(ctx context.Context) ([]Kernel, error) {
	res, err := c.kernels.List(ctx, &bangerv1.ListKernelsRequest{})
	if err != nil {
		return nil, plain(ctx, err)
	}
	kernels := make([]Kernel, 0, len(res.GetKernels()))
	for _, m := range res.GetKernels() {
		kernels = append(kernels, kernelValue(m))
	}
	return kernels, nil
}

// Kernel finds one kernel by name, digest or unique prefix of a digest.
func (c *Client) Kernel(ctx context.Context, ref string) (Kernel, error) {
	res, err := c.kernels.Get(ctx, &bangerv1.GetKernelRequest{Ref: ref})
	return kernelValue(res.GetKernel()), plain(ctx, err)
}

// DeleteKernel removes a kernel that no VM uses and returns it as it was.
func (c *Client) DeleteKernel(ctx context.Context, ref string) (Kernel, error) {
	res, err := c.kernels.Delete(ctx, &bangerv1.DeleteKernelRequest{Ref: ref})
	return kernelValue(res.GetKernel()), plain(ctx, err)
}
