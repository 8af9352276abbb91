package cli

import "github.com/spf13/cobra"

func newSystemRestart(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "restart",
		Short:             "Restart the privileged helper; VMs go on",
		Long:              `Restart the privileged helper. It needs root, and returns when the helper answers. VMs go on.`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.system().Restart(cmd.Context()) },
	}
}
