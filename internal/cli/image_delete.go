package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

func newImageDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "delete IMAGE...",
		Aliases: []string{"rm"},
		Short:   "Remove images",
		Long: `Remove images that no VM uses: the disk of one that does, running or stopped, stands on its image.
An image that has other names, too, only loses the one that is given; by its digest it goes with all of them. The
` + model.DefaultImage + ` image is built again when it is next needed; one that was promoted is not removed before another one is.`,
		Example:           `  banger image delete debian`,
		Args:              names("image", 1, 0),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.forEach(cmd.Context(), refs, func(ctx context.Context, c *client.Client, ref string) (string, error) {
				gone, err := c.DeleteImage(ctx, ref)
				if slices.Contains(gone.Tags, ref) {
					return ref, err
				}
				return nameOr(gone.Name, gone.Digest), err
			})
		},
	}
}
