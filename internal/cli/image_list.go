package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImageList(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:               "list",
		Aliases:           []string{"ls"},
		Short:             "List images",
		Long:              "List images, one line for each of their names.",
		Example:           `  banger image list`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runImageList(cmd.Context(), a, f) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runImageList(ctx context.Context, a *app, f format) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Images(ctx)
	switch {
	case err != nil:
		return err
	case f == formatJSON:
		return a.writeJSON(all)
	case a.quiet:
		return a.writeNames(mapped(all, func(one client.Image) string { return nameOr(one.Name, one.Digest) }))
	}
	now := time.Now()
	var rows [][]string
	for _, one := range all {
		for _, tag := range append(one.Tags, one.Name)[:max(1, len(one.Tags))] {
			rows = append(rows, []string{tag, shortDigest(one.Digest), size(one.SizeBytes), size(one.DiskBytes), one.Source, age(now, one.CreatedAt)})
		}
	}
	return a.writeTable([]string{"NAME", "DIGEST", "SIZE", "ON DISK", "SOURCE", "CREATED"}, rows)
}
