package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newKernelShow(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:               "show KERNEL...",
		Aliases:           []string{"inspect"},
		Short:             "Show what kernels are",
		Long:              "Show what kernels are. As JSON, one kernel is an object and several are a list.",
		Example:           `  banger kernel show debian-cloud`,
		Args:              names("kernel", 1, 0),
		ValidArgsFunction: a.completeKernels,
		RunE:              func(cmd *cobra.Command, refs []string) error { return runKernelShow(cmd.Context(), a, f, refs) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runKernelShow(ctx context.Context, a *app, f format, refs []string) error {
	found := []client.Kernel{}
	failures := a.forEach(ctx, refs, func(ctx context.Context, c *client.Client, ref string) (string, error) {
		one, err := c.Kernel(ctx, ref)
		if err == nil {
			found = append(found, one)
		}
		return "", err
	})
	if err := showEach(a, f, len(refs) > 1, found, kernelFields); err != nil {
		return err
	}
	return failures
}

func kernelFields(k client.Kernel) [][2]string {
	return [][2]string{
		{"Name", k.Name}, {"Digest", k.Digest}, {"Architecture", k.Arch}, {"Release", k.Release}, {"Source", k.Source},
		{"Size", size(k.SizeBytes)}, {"Created", k.CreatedAt.Local().Format(time.RFC3339)},
	}
}
