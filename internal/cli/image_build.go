package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

func newImageBuild(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "build [flags] [IMAGE]",
		Short: "Build an image",
		Long: `Build the ` + model.DefaultImage + ` image from the distribution's signed packages, unless it is there, and print its name.
The first VM does the same by itself. VMs keep the image that they were made from.`,
		Example: `  banger image build
  banger image build --force     today's packages, for the VMs to come`,
		Args:              names("image", 0, 1),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return runImageBuild(cmd.Context(), a, name, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "build it again")
	return cmd
}

func runImageBuild(ctx context.Context, a *app, name string, force bool) error {
	return a.makeImage(ctx, name, func(ctx context.Context, c *client.Client) (*client.Operation, error) {
		return c.BuildImage(ctx, name, force)
	})
}
