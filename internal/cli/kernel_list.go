package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newKernelList(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:               "list",
		Aliases:           []string{"ls"},
		Short:             "List kernels",
		Example:           `  banger kernel list`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runKernelList(cmd.Context(), a, f) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runKernelList(ctx context.Context, a *app, f format) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Kernels(ctx)
	switch {
	case err != nil:
		return err
	case f == formatJSON:
		return a.writeJSON(all)
	case a.quiet:
		return a.writeNames(mapped(all, func(one client.Kernel) string { return nameOr(one.Name, one.Digest) }))
	}
	now := time.Now()
	return a.writeTable([]string{"NAME", "DIGEST", "RELEASE", "SIZE", "SOURCE", "CREATED"}, mapped(all, func(one client.Kernel) []string {
		return []string{one.Name, shortDigest(one.Digest), one.Release, size(one.SizeBytes), one.Source, age(now, one.CreatedAt)}
	}))
}
