package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/model"
)

func newImagePromote(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "promote IMAGE",
		Short: "Make an image the default",
		Long: `Make an image the one that VMs get for which none is named, in place of ` + model.DefaultImage + `. VMs that are there keep theirs.
An image in config.toml goes before it.`,
		Example: `  banger image promote python:3.13
  banger image promote ` + model.DefaultImage + `     as it was in the beginning`,
		Args:              names("image", 1, 1),
		ValidArgsFunction: a.completeImages,
		RunE:              func(cmd *cobra.Command, args []string) error { return runImagePromote(cmd.Context(), a, args[0]) },
	}
}

func runImagePromote(ctx context.Context, a *app, ref string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.PromoteImage(ctx, ref)
	return err
}
