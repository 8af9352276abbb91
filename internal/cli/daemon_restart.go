package cli

import "github.com/spf13/cobra"

func newDaemonRestart(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "restart",
		Short:             "Stop the daemon and start this version's; VMs go on",
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := stopDaemon(cmd.Context(), a); err != nil {
				return err
			}
			c, err := a.dial(cmd.Context(), true)
			if err != nil {
				return err
			}
			return c.Close()
		},
	}
}
