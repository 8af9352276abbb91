package client

import (
	"context"

	bangerv1 "banger/api/banger/v1"
)

// Pruned is what a prune has removed, or would remove. Its JSON form is what the command line prints.
type Pruned struct {
	Images     []Image `json:"images"`
	Layers     int     `json:"layers"` // so many downloaded layers
	LayerBytes int64   `json:"layer_bytes"`
	FreedBytes int64   `json:"freed_bytes"` // in all
}

// PruneImages removes the images that neither a VM nor a name holds (with all, those that no VM does) and the downloaded
// layers; with dryRun it only says what would go.
func (c *Client) PruneImages(ctx context.Context, all, dryRun bool) (Pruned, error) {
	res, err := c.images.Prune(ctx, &bangerv1.PruneImagesRequest{All: all, DryRun: dryRun})
	p := Pruned{Images: []Image{}, Layers: int(res.GetLayers()), LayerBytes: res.GetLayerBytes(), FreedBytes: res.GetFreedBytes()}
	for _, m := range res.GetImages() {
		p.Images = append(p.Images, imageValue(m))
	}
	return p, plain(ctx, err)
}
