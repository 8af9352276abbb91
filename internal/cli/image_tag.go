package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newImageTag(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "tag IMAGE NAME",
		Short:             "Give an image one more name",
		Long:              "Give an image one more name. Another image that has the name loses it. Take one away with: banger image delete NAME",
		Example:           `  banger image tag python:3.13 py`,
		Args:              imageAndName,
		ValidArgsFunction: a.completeImages,
		RunE:              func(cmd *cobra.Command, args []string) error { return runImageTag(cmd.Context(), a, args[0], args[1]) },
	}
}

func imageAndName(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usagef("name an image and what it is to be called")
	}
	return readable(args...)
}

func runImageTag(ctx context.Context, a *app, ref, name string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.TagImage(ctx, ref, name)
	return err
}
