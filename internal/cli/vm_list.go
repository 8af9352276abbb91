package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

type listOptions struct {
	runningOnly bool
	format      format
}

func newVMList(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all VMs",
		Example: `  banger vm list
  banger vm list --format json`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runList(cmd.Context(), a, &o) },
	}
	addFormat(cmd, &o.format)
	return cmd
}

// newPS is docker's ps: it stands in two places.
func newPS(a *app) *cobra.Command {
	var o listOptions
	var all bool
	cmd := &cobra.Command{
		Use:               "ps",
		Short:             "List the VMs that run",
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.runningOnly = !all
			return runList(cmd.Context(), a, &o)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "list all VMs")
	addFormat(cmd, &o.format)
	return cmd
}

func runList(ctx context.Context, a *app, o *listOptions) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	vms, err := c.VMs(ctx, o.runningOnly)
	if err != nil {
		return err
	}
	if o.format == formatJSON {
		return a.writeJSON(vms)
	}
	if a.quiet {
		return a.writeNames(mapped(vms, func(v client.VM) string { return v.Name }))
	}
	now := time.Now()
	return a.writeTable([]string{"NAME", "ID", "STATE", "IMAGE", "VCPUS", "MEMORY", "CREATED"}, mapped(vms, func(v client.VM) []string {
		return []string{v.Name, shortID(v.ID), v.State, v.Image, strconv.Itoa(v.VCPUs), size(v.MemoryBytes), age(now, v.CreatedAt)}
	}))
}

// mapped is a list of what f makes of each.
func mapped[T, R any](list []T, f func(T) R) []R {
	out := make([]R, 0, len(list))
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}
