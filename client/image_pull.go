package client

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

// PullRequest asks for an image of what a registry has.
type PullRequest struct {
	Ref      string
	Platform string // "" for linux/amd64
	Insecure bool   // the registry may speak plain HTTP or have an unknown certificate
	Policy   string // always (""), missing or never
}

// PullImage makes an image of what a registry has under a reference. The result is the image.
func (c *Client) PullImage(ctx context.Context, r PullRequest) (*Operation, error) {
	stream, err := c.images.Pull(ctx, &bangerv1.PullImageRequest{Ref: r.Ref, Platform: r.Platform, Insecure: r.Insecure, Policy: r.Policy})
	return begin(ctx, c, stream, err)
}
