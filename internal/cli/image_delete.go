package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImageDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "delete IMAGE...",
		Aliases:           []string{"rm"},
		Short:             "Remove images",
		Long:              "Remove images that no VM uses. The default one is built again when it is next needed.",
		Example:           `  banger image delete debian`,
		Args:              names("image", 1, 0),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.forEach(cmd.Context(), refs, func(ctx context.Context, c *client.Client, ref string) (string, error) {
				gone, err := c.DeleteImage(ctx, ref)
				return nameOr(gone.Name, gone.Digest), err
			})
		},
	}
}
