package cli

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImageRegister(a *app) *cobra.Command {
	var r client.RegisterRequest
	cmd := &cobra.Command{
		Use:   "register --name NAME [flags] FILE",
		Short: "Make an image of an ext4 file",
		Long: `Make an image of a copy of an ext4 file, and print its name. The file is checked to be one and is not looked into: what
it holds is up to the guest. With --init its own init program becomes process 1; without, process 1 only reaps orphans.`,
		Example: `  banger image register --name mine root.ext4
  banger image register --name mine --init /sbin/init root.ext4`,
		Args: names("file", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Name == "" {
				return usagef("give the image a name: --name NAME")
			}
			return runImageRegister(cmd.Context(), a, r, args[0])
		},
	}
	cmd.Flags().StringVar(&r.Name, "name", "", "name of the image")
	cmd.Flags().StringVar(&r.InitPath, "init", "", "`PATH` of the init program in it that becomes process 1")
	return cmd
}

func runImageRegister(ctx context.Context, a *app, r client.RegisterRequest, file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	r.Path = path
	if err := readable(r.Name, r.Path, r.InitPath); err != nil {
		return err
	}
	return a.makeImage(ctx, r.Name, func(ctx context.Context, c *client.Client) (*client.Operation, error) { return c.RegisterImage(ctx, r) })
}
