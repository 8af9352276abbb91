package cli

import "github.com/spf13/cobra"

func newVMShell(a *app) *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:     "shell [flags] VM [-- COMMAND [ARG...]]",
		Aliases: []string{"ssh"},
		Short:   "Open a shell in a running VM",
		Long: `Open the user's login shell in a running VM. It has a terminal when standard input and output are one, and reads
commands from standard input otherwise. With a command, that is run instead.`,
		Example: `  banger vm shell box
  banger vm shell -u nobody box
  echo uptime | banger vm shell box`,
		Annotations:       map[string]string{passesCode: "yes"},
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.ref, o.argv, err = refAndCommand(args); err != nil {
				return err
			}
			o.interactive, o.announce = true, true
			return runExec(cmd.Context(), a, &o)
		},
	}
	cmd.Flags().SetInterspersed(false)
	addContext(cmd, &o)
	return cmd
}
