package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

type pruneOptions struct {
	all    bool
	dryRun bool
	force  bool
	format format
}

func newImagePrune(a *app) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove images that nothing holds",
		Long: `Remove the images that neither a VM nor a name holds, and the layers that were downloaded for pulls. What was removed is
printed, and what that freed. With --all, images that only a name holds go as well, when you say so: to a question on a
terminal, or by --force. The image that was promoted stays.`,
		Example: `  banger image prune --dry-run
  banger image prune --all
  banger image prune --all --force`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runImagePrune(cmd.Context(), a, o) },
	}
	cmd.Flags().BoolVar(&o.all, "all", false, "named images too, but for those that VMs use")
	cmd.Flags().BoolVarP(&o.dryRun, "dry-run", "n", false, "only say what would go")
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "do not ask")
	addFormat(cmd, &o.format)
	return cmd
}

func runImagePrune(ctx context.Context, a *app, o pruneOptions) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	if o.all && !o.dryRun && !o.force {
		if err := a.confirmPrune(ctx, c); err != nil {
			return err
		}
	}
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

// maxPruneNames is how many images a question names.
const maxPruneNames = 5

// confirmPrune asks before images go that have a name. Where nobody can be asked nothing goes, whatever there is, so that
// a script learns of it the first time.
func (a *app) confirmPrune(ctx context.Context, c *client.Client) error {
	if !a.canAsk() {
		return model.Errorf(model.ErrState, "cannot remove the images that no VM uses without a yes, and there is nobody to ask; "+
			"to see which they are: banger image prune --all --dry-run; to remove them: banger image prune --all -f")
	}
	p, err := c.PruneImages(ctx, true, true)
	if err != nil {
		return err
	}
	var named []string
	for _, i := range p.Images {
		if i.Name != "" {
			named = append(named, i.Name)
		}
	}
	if len(named) == 0 {
		return nil // the rest goes without a question otherwise, too
	}
	which := strings.Join(named[:min(len(named), maxPruneNames)], ", ")
	if more := len(named) - maxPruneNames; more > 0 {
		which += fmt.Sprintf(" and %d more", more)
	}
	if yes, _ := a.ask(fmt.Sprintf("%s: no VM uses them; remove them all, %s?", which, size(p.FreedBytes))); !yes {
		return model.Errorf(model.ErrCanceled, "nothing was removed")
	}
	return nil
}
