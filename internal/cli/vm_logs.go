package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func newVMLogs(a *app) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs [flags] VM",
		Short: "Print a VM's console",
		Long: `Print what a VM's kernel and init system said on its console, from its first line as far as it is kept.
On a terminal, control characters are shown instead of obeyed; otherwise the bytes are as they were.`,
		Example: `  banger vm logs box
  banger vm logs -f box`,
		Args:              names("VM", 1, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE:              func(cmd *cobra.Command, args []string) error { return runLogs(cmd.Context(), a, args[0], follow) },
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until the VM ends")
	return cmd
}

func runLogs(ctx context.Context, a *app, ref string, follow bool) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := resolveOne(ctx, c, ref)
	if err != nil {
		return err
	}
	return a.writeText(func(w io.Writer) error { return c.Logs(ctx, v.ID, follow, w) })
}

// writeText has a stranger's text written to standard output: safely to a terminal, as it is to anything else.
func (a *app) writeText(to func(w io.Writer) error) error {
	if !isTerminal(a.Out) {
		return to(a.Out)
	}
	safe := &safeWriter{w: a.Out}
	err := to(safe)
	if cerr := safe.close(); err == nil {
		err = cerr
	}
	return err
}
