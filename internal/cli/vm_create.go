package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMCreate(a *app) *cobra.Command {
	var f specFlags
	cmd := &cobra.Command{
		Use:   "create [flags]",
		Short: "Make a VM without starting it",
		Long:  "Make a VM without starting it, and print its name. The default image and kernel are built on first use.",
		Example: `  banger vm create --name box
  banger vm create --name big --vcpu 8 --memory 16G --disk-size 100G`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runCreate(cmd.Context(), a, &f) },
	}
	addSpec(a, cmd, &f)
	return cmd
}

func runCreate(ctx context.Context, a *app, f *specFlags) error {
	r, err := f.request(a, true)
	if err != nil {
		return err
	}
	sigs, stop := a.catchAll()
	defer stop()
	c, err := interruptible(ctx, sigs, func(ctx context.Context) (*client.Client, error) { return a.dial(ctx, true) })
	if err != nil {
		return err
	}
	defer c.Close()
	op, err := c.Create(ctx, r)
	if err != nil {
		return err
	}
	defer op.Close()
	result, err := a.await(ctx, op, sigs, r.Name)
	if err != nil {
		return err
	}
	return a.writeNames([]string{result.VM.Name})
}
