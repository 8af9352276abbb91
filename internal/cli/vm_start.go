package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMStart(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "start VM...",
		Short: "Start VMs",
		Long:  `Start VMs that do not run, and print the name of each that does then.`,
		Example: `  banger vm start box
  banger vm start $(banger vm list -q)`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.operate(cmd.Context(), refs, func(ctx context.Context, c *client.Client, id string) (*client.Operation, error) {
				return c.Start(ctx, id)
			})
		},
	}
}
