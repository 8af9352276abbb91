package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"banger/client"
)

type pruneOptions struct {
	all    bool
	dryRun bool
	format format
}

func newImagePrune(a *app) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove images that nothing holds",
		Long: `Remove the images that neither a VM nor a name holds, and the layers that were downloaded for pulls. What was removed is
printed, and what that freed. With --all, images that only a name holds go as well.`,
		Example: `  banger image prune --dry-run
  banger image prune --all`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runImagePrune(cmd.Context(), a, o) },
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "named images too, but for those that VMs use")
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "only say what would go")
	addFormat(cmd, &o.format)
	return cmd
}

func runImagePrune(ctx context.Context, a *app, o pruneOptions) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := c.PruneImages(ctx, o.all, o.dryRun)
	switch {
	case err != nil:
		return err
	case o.format == formatJSON:
		return a.writeJSON(p)
	}
	if err := a.writeNames(mapped(p.Images, func(i client.Image) string { return nameOr(i.Name, i.Digest) })); err != nil {
		return err
	}
	if !a.quiet {
		did := "freed"
		if o.dryRun {
			did = "would free"
		}
		a.say(fmt.Sprintf("%s %s: %d images, %d downloaded layers", did, size(p.FreedBytes), len(p.Images), p.Layers))
	}
	return nil
}
