package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
)

func newImagePull(a *app) *cobra.Command {
	var r client.PullRequest
	cmd := &cobra.Command{
		Use:   "pull [flags] REFERENCE",
		Short: "Make an image of what a registry has",
		Long: `Make an image of what a registry has under a reference, and print its name. What has not changed is not fetched again.
Logins are docker's and podman's: docker login HOST. A VM with --image REFERENCE pulls what is missing by itself.`,
		Example: `  banger image pull python:3.13
  banger image pull localhost:5000/team/tool:2`,
		Args:              names("reference", 1, 1),
		ValidArgsFunction: a.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Ref = args[0]
			return runImagePull(cmd.Context(), a, r)
		},
	}
	addPlatform(cmd, &r.Platform)
	addInsecure(cmd, &r.Insecure)
	cmd.Flags().StringVar(&r.Policy, "policy", "", "`WHEN` to ask the registry: always (the default), missing or never")
	complete(cmd, "policy", pullPolicies()...)
	return cmd
}

func pullPolicies() []string { return []string{"always", "missing", "never"} }

func addInsecure(cmd *cobra.Command, insecure *bool) {
	cmd.Flags().BoolVar(insecure, "insecure", false, "let the registry speak plain HTTP or have an unknown certificate")
}

func runImagePull(ctx context.Context, a *app, r client.PullRequest) error {
	if err := readable(r.Ref, r.Platform, r.Policy); err != nil {
		return err
	}
	return a.makeImage(ctx, r.Ref, func(ctx context.Context, c *client.Client) (*client.Operation, error) { return c.PullImage(ctx, r) })
}
