package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMKill(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "kill VM...",
		Short:             "End VMs at once",
		Long:              `End VMs at once, as pulling the plug would. What a guest had not written to its disk is lost; "banger vm stop" keeps it.`,
		Example:           `  banger vm kill box`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.operate(cmd.Context(), refs, func(ctx context.Context, c *client.Client, id string) (*client.Operation, error) {
				return c.Kill(ctx, id)
			})
		},
	}
}
