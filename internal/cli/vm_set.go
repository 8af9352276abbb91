package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

func newVMSet(a *app) *cobra.Command {
	var policy policyFlag
	cmd := &cobra.Command{
		Use:   "set --network POLICY VM...",
		Short: "Change what VMs may reach",
		Long: `Change what VMs may reach. It is in force at once, also for connections that are open: those that are no longer allowed
end. When the change fails, the policy before stays in force.

A policy is none, public (the internet, but no private network, not this host, no other VM), open (whatever this host
reaches, its loopback excepted), or a list of public, group:NAME, addresses, ranges and domains, each with a port or without.

A VM that was started with --network none has no network interface: it gets one at its next start. One that is set to
none keeps its interface, which then leads nowhere.`,
		Example: `  banger vm set --network none box
  banger vm set --network public,10.1.2.3:5432 box
  banger vm set --network '*.debian.org:80,pypi.org:443' box`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			if policy == "" {
				return usagef("say what to change: --network POLICY")
			}
			return runSet(cmd.Context(), a, string(policy), refs)
		},
	}
	cmd.Flags().Var(&policy, "network", "none, public, open, or a list")
	complete(cmd, "network", model.PolicyPublic, model.PolicyNone, model.PolicyOpen)
	return cmd
}

func runSet(ctx context.Context, a *app, policy string, refs []string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	return a.each(ctx, c, refs, func(ctx context.Context, v client.VM) (string, error) {
		return v.Name, c.SetNetwork(ctx, v.ID, policy)
	})
}
