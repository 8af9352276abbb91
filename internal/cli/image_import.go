package cli

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"banger/client"
)

type importOptions struct {
	name     string
	file     string
	platform string
}

func newImageImport(a *app) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import [flags] FILE|DIR|-",
		Short: "Make an image of an archive",
		Long: `Make an image of an archive and print its name. What the archive is, is told by its content: the tar of a root file
system, what docker save or podman save writes, or an OCI layout (a directory, too); plain, or compressed with gzip or
zstd. With - it is read from standard input.

A root file system needs a --name; of an image's archive it is the one that is in it.`,
		Example: `  banger image import --name mine rootfs.tar.zst
  docker save python:3.13 | banger image import -
  banger image import --name mine layout/`,
		Args: names("file", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return runImageImport(cmd.Context(), a, o)
		},
	}
	cmd.Flags().StringVar(&o.name, "name", "", "name of the image")
	addPlatform(cmd, &o.platform)
	return cmd
}

func addPlatform(cmd *cobra.Command, platform *string) {
	cmd.Flags().StringVar(platform, "platform", "", "`PLATFORM` of the image where there are several: linux/amd64 (the default) or linux/386")
	complete(cmd, "platform", "linux/amd64", "linux/386")
}

func runImageImport(ctx context.Context, a *app, o importOptions) error {
	r := client.ImportRequest{Name: o.name, Platform: o.platform}
	if o.file == "-" {
		if isTerminal(a.In) {
			return usagef("standard input is a terminal: send an archive to it, or name a file")
		}
		r.Stream = a.In
	} else {
		path, err := filepath.Abs(o.file)
		if err != nil {
			return err
		}
		r.Path = path
	}
	if err := readable(r.Name, r.Path, r.Platform); err != nil {
		return err
	}
	return a.makeImage(ctx, o.name, func(ctx context.Context, c *client.Client) (*client.Operation, error) { return c.ImportImage(ctx, r) })
}

// makeImage follows an operation that makes an image, and prints the image's name.
func (a *app) makeImage(ctx context.Context, label string, begin func(ctx context.Context, c *client.Client) (*client.Operation, error)) error {
	sigs, stop := a.catchAll()
	defer stop()
	c, err := interruptible(ctx, sigs, func(ctx context.Context) (*client.Client, error) { return a.dial(ctx, true) })
	if err != nil {
		return err
	}
	defer c.Close()
	op, err := begin(ctx, c)
	if err != nil {
		return err
	}
	defer op.Close()
	result, err := a.await(ctx, op, sigs, label)
	if err != nil || result.Image == nil {
		return err
	}
	return a.writeNames([]string{nameOr(result.Image.Name, result.Image.Digest)})
}
