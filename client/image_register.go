package client

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

// RegisterRequest asks for an image of a copy of an ext4 file.
type RegisterRequest struct {
	Name     string
	Path     string // absolute
	InitPath string // of the init program inside that becomes process 1; "" for none
}

// RegisterImage makes an image of a copy of an ext4 file. The result is the image.
func (c *Client) RegisterImage(ctx context.Context, r RegisterRequest) (*Operation, error) {
	stream, err := c.images.Register(ctx, &bangerv1.RegisterImageRequest{Name: r.Name, Path: r.Path, InitPath: r.InitPath})
	return begin(ctx, c, stream, err)
}
