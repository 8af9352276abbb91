package client

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

// TagImage gives an image one more name, and returns it.
func (c *Client) TagImage(ctx context.Context, ref, name string) (Image, error) {
	res, err := c.images.Tag(ctx, &bangerv1.TagImageRequest{Ref: ref, Name: name})
	return imageValue(res.GetImage()), plain(ctx, err)
}

// PromoteImage makes an image the one that VMs get for which none is named, and returns it.
func (c *Client) PromoteImage(ctx context.Context, ref string) (Image, error) {
	res, err := c.images.Promote(ctx, &bangerv1.PromoteImageRequest{Ref: ref})
	return imageValue(res.GetImage()), plain(ctx, err)
}
