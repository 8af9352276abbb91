package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImageShow(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:               "show IMAGE...",
		Aliases:           []string{"inspect"},
		Short:             "Show what images are",
		Long:              "Show what images are. As JSON, one image is an object and several are a list.",
		Example:           `  banger image show debian`,
		Args:              names("image", 1, 0),
		ValidArgsFunction: a.completeImages,
		RunE:              func(cmd *cobra.Command, refs []string) error { return runImageShow(cmd.Context(), a, f, refs) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runImageShow(ctx context.Context, a *app, f format, refs []string) error {
	found := []client.Image{}
	failures := a.forEach(ctx, refs, func(ctx context.Context, c *client.Client, ref string) (string, error) {
		one, err := c.Image(ctx, ref)
		if err == nil {
			found = append(found, one)
		}
		return "", err
	})
	if err := showEach(a, f, len(refs) > 1, found, imageFields); err != nil {
		return err
	}
	return failures
}

func imageFields(i client.Image) [][2]string {
	return [][2]string{
		{"Name", i.Name}, {"Digest", i.Digest}, {"Architecture", i.Arch}, {"Source", i.Source}, {"Init", i.Init},
		{"Size", size(i.SizeBytes)}, {"On disk", size(i.DiskBytes)}, {"Created", i.CreatedAt.Local().Format(time.RFC3339)},
	}
}
