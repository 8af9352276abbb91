package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newWorkspacePrepare(a *app) *cobra.Command {
	var f projectFlags
	cmd := &cobra.Command{
		Use:   "prepare [flags] VM PATH",
		Short: "Copy a project into a running VM",
		Long: `Copy a project directory into a running VM: of a git work tree the tracked files as they lie there, with a repository at
the base commit; of another directory what its ignore files leave. Commands then begin in it. What looks like a secret is
left out and named, and so is what .bangerignore names. Nothing of yours is changed.`,
		Example: `  banger vm workspace prepare box .
  banger vm workspace prepare --dry-run box ./repo
  banger vm workspace prepare --branch try --from v1.2 --history full box ./repo`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("name a VM and a directory")
			}
			return nil
		},
		ValidArgsFunction: a.completeVMAndPath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPrepare(cmd.Context(), a, &f, args[0], args[1])
		},
	}
	addProject(cmd, &f)
	return cmd
}

func (a *app) completeVMAndPath(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeOneVM(cmd, args, start)
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func runPrepare(ctx context.Context, a *app, f *projectFlags, ref, path string) error {
	spec, err := f.spec(path)
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
	v, err := resolveOne(ctx, c, ref)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.showPlan(ctx, c, *spec)
	}
	op, err := c.PrepareWorkspace(ctx, v.ID, *spec)
	if err != nil {
		return err
	}
	defer op.Close()
	result, err := a.await(ctx, op, sigs, v.Name)
	if err != nil {
		return err
	}
	if result.VM == nil || result.VM.Workspace == nil {
		return client.ErrUnavailable
	}
	return a.writeNames([]string{result.VM.Workspace.Guest})
}
