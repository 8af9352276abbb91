package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

func newVMDelete(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "delete [flags] VM...",
		Aliases: []string{"rm"},
		Short:   "Remove VMs",
		Long: `Remove VMs, running ones included, with everything they have. There is no way back. A VM whose workspace has changes that
were not taken out is removed only when you say so: to a question on a terminal, or by --force.`,
		Example: `  banger vm delete box
  banger vm rm -f box other`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			if !force {
				if err := a.confirmLoss(cmd.Context(), refs); err != nil {
					return err
				}
			}
			return a.operate(cmd.Context(), refs, func(ctx context.Context, c *client.Client, id string) (*client.Operation, error) {
				return c.Delete(ctx, id)
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also with changes that were not taken out of the workspace")
	return cmd
}

// confirmLoss asks about each VM whose deletion would lose changes of a workspace. One no, or nobody to ask, and nothing
// is removed.
func (a *app) confirmLoss(ctx context.Context, refs []string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Resolve(ctx, refs)
	if err != nil {
		return err
	}
	for _, r := range found {
		if r.Err != nil || r.VM.Workspace == nil {
			continue
		}
		what, err := c.Unexported(ctx, r.VM.ID)
		if err != nil {
			return err
		}
		if what == "" {
			continue
		}
		yes, possible := a.ask(fmt.Sprintf("%s: %s; remove it all the same?", r.VM.Name, what))
		if !possible {
			return model.Errorf(model.ErrState, "cannot delete %s: %s; take them out with: banger vm workspace export %s, or delete it with: banger vm delete -f %s", r.VM.Name, what, r.VM.Name, r.VM.Name)
		}
		if !yes {
			return model.Errorf(model.ErrCanceled, "nothing was removed")
		}
	}
	return nil
}
