package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMRestart(a *app) *cobra.Command {
	grace := durationFlag(defaultGrace)
	cmd := &cobra.Command{
		Use:               "restart [flags] VM...",
		Short:             "Stop VMs and start them again",
		Long:              `Stop VMs as "banger vm stop" does, and start them again.`,
		Example:           `  banger vm restart box`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.operate(cmd.Context(), refs, func(ctx context.Context, c *client.Client, id string) (*client.Operation, error) {
				return c.Restart(ctx, id, time.Duration(grace))
			})
		},
	}
	addGrace(cmd, &grace)
	return cmd
}
