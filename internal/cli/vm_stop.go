package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMStop(a *app) *cobra.Command {
	grace := durationFlag(defaultGrace)
	cmd := &cobra.Command{
		Use:   "stop [flags] VM...",
		Short: "Stop VMs",
		Long:  `Stop VMs: the guest writes everything to its disk and powers off. One that takes longer than --timeout is killed.`,
		Example: `  banger vm stop box
  banger vm stop -t 60s box other`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			return a.operate(cmd.Context(), refs, func(ctx context.Context, c *client.Client, id string) (*client.Operation, error) {
				return c.Stop(ctx, id, time.Duration(grace))
			})
		},
	}
	addGrace(cmd, &grace)
	return cmd
}

// defaultGrace is how long a guest may take to power off.
const defaultGrace = 10 * time.Second

func addGrace(cmd *cobra.Command, grace *durationFlag) {
	cmd.Flags().VarP(grace, "timeout", "t", "how long a guest may take before it is killed")
}
