package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newKernelDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "delete KERNEL...",
		Aliases:           []string{"rm"},
		Short:             "Remove kernels",
		Long:              "Remove kernels that no VM uses. The default one is built again when it is next needed.",
		Example:           `  banger kernel delete debian-cloud`,
		Args:              names("kernel", 1, 0),
		ValidArgsFunction: a.completeKernels,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.forEach(cmd.Context(), refs, func(ctx context.Context, c *client.Client, ref string) (string, error) {
				gone, err := c.DeleteKernel(ctx, ref)
				return nameOr(gone.Name, gone.Digest), err
			})
		},
	}
}
