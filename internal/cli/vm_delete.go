package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "delete VM...",
		Aliases: []string{"rm"},
		Short:   "Remove VMs",
		Long:    `Remove VMs, running ones included, with everything they have. There is no way back.`,
		Example: `  banger vm delete box
  banger vm rm box other`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.operate(cmd.Context(), refs, func(ctx context.Context, c *client.Client, id string) (*client.Operation, error) {
				return c.Delete(ctx, id)
			})
		},
	}
}
