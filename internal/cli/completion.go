package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newCompletion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completions for a shell",
		Long: `Print the completions for a shell, live names of VMs, images and kernels included:

  bash   source <(banger completion bash)                                          in ~/.bashrc
  zsh    banger completion zsh >"${fpath[1]}/_banger"
  fish   banger completion fish >~/.config/fish/completions/banger.fish`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name a shell: bash, zsh or fish")
			}
			return nil
		},
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.Out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.Out)
			case "fish":
				return cmd.Root().GenFishCompletion(a.Out, true)
			}
			return usagef("%q: there are completions for bash, zsh and fish", args[0])
		},
	}
}

// completionLimit is how long somebody who pressed Tab waits for names.
const completionLimit = 500 * time.Millisecond

// live asks a running daemon for names, of which it offers those that begin with start. It starts no daemon, and says
// nothing when there is none.
func (a *app) live(ctx context.Context, start string, ask func(ctx context.Context, c *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionLimit)
	defer cancel()
	c, err := a.dial(ctx, false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	found, err := ask(ctx, c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var fitting []string
	for _, name := range found {
		if strings.HasPrefix(name, start) {
			fitting = append(fitting, safeLine(name))
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

// completeVMs offers the VMs that are not on the command line yet.
func (a *app) completeVMs(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	named := map[string]bool{}
	for _, n := range args {
		named[n] = true
	}
	return a.live(cmd.Context(), start, func(ctx context.Context, c *client.Client) ([]string, error) {
		vms, err := c.VMs(ctx, false)
		var fresh []string
		for _, v := range vms {
			if !named[v.Name] {
				fresh = append(fresh, v.Name)
			}
		}
		return fresh, err
	})
}

// completeOneVM offers VMs for the first argument only.
func (a *app) completeOneVM(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.completeVMs(cmd, args, start)
}

func (a *app) completeImages(cmd *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	return a.live(cmd.Context(), start, func(ctx context.Context, c *client.Client) ([]string, error) {
		images, err := c.Images(ctx)
		var known []string
		for _, i := range images {
			if len(i.Tags) == 0 {
				known = append(known, nameOr(i.Name, i.Digest))
			}
			known = append(known, i.Tags...)
		}
		return known, err
	})
}

func (a *app) completeKernels(cmd *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	return a.live(cmd.Context(), start, func(ctx context.Context, c *client.Client) ([]string, error) {
		kernels, err := c.Kernels(ctx)
		return mapped(kernels, func(k client.Kernel) string { return nameOr(k.Name, k.Digest) }), err
	})
}

// completeDrivers offers the drivers that a daemon says it has.
func (a *app) completeDrivers(of func(client.DaemonStatus) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
		return a.live(cmd.Context(), start, func(ctx context.Context, c *client.Client) ([]string, error) {
			status, err := c.Status(ctx)
			return of(status), err
		})
	}
}
