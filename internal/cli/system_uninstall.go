package cli

import "github.com/spf13/cobra"

func newSystemUninstall(a *app) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the privileged helper and all that it made",
		Long: `Remove the privileged helper and all that it made: its program, its units, its sockets, and devices and rules that were left behind.
It needs root. VMs and their data stay; those whose root disk or network the helper made cannot be started without it.

While VMs run on devices that the helper made, nothing is removed. With --purge everything else is: VMs in jails are ended,
a disk goes when its VM ends, and a network at once, from under its VM.`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.system().Uninstall(cmd.Context(), purge) },
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "also while VMs run on devices that it made; these go with them")
	return cmd
}
