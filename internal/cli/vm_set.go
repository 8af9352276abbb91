package cli

import (
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

type setOptions struct {
	policy policyFlag
	open   hostPortsFlag
	close  hostPortsFlag
}

func newVMSet(a *app) *cobra.Command {
	var o setOptions
	cmd := &cobra.Command{
		Use:   "set [flags] VM...",
		Short: "Change what VMs may reach",
		Long: `Change what VMs may reach. It is in force at once, also for connections that are open: those that are no longer allowed
end. When the change fails, all that was in force stays so.

A policy is none, public (the internet, but no private network, not this host, no other VM), open (whatever this host
reaches, its loopback excepted), or a list of public, group:NAME, addresses, ranges and domains, each with a port or without.

--host-port opens a port of this host's loopback beside those that are open already, --remove-host-port closes one; both can
be given more than once.

A VM that was started with --network none has no network interface: it gets one at its next start. One that is set to
none keeps its interface, which then leads nowhere.`,
		Example: `  banger vm set --network none box
  banger vm set --network public,10.1.2.3:5432 box
  banger vm set --network '*.debian.org:80,pypi.org:443' box
  banger vm set --host-port 5432 --remove-host-port 8080 box`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return runSet(cmd.Context(), a, &o, refs)
		},
	}
	cmd.Flags().Var(&o.policy, "network", "none, public, open, or a list")
	cmd.Flags().Var(&o.open, "host-port", "let the VMs reach this port of our loopback, too, as "+hostName)
	cmd.Flags().Var(&o.close, "remove-host-port", "have the VMs no longer reach this port of our loopback")
	complete(cmd, "network", model.PolicyPublic, model.PolicyNone, model.PolicyOpen)
	completeFlag(cmd, "host-port", cobra.NoFileCompletions)
	completeFlag(cmd, "remove-host-port", a.completeHostPorts)
	return cmd
}

func (o *setOptions) check() error {
	if o.policy == "" && len(o.open)+len(o.close) == 0 {
		return usagef("say what to change: --network POLICY, --host-port PORT or --remove-host-port PORT")
	}
	for _, port := range o.open {
		if slices.Contains(o.close, port) {
			return usagef("port %d can be opened or closed, not both", port)
		}
	}
	if o.policy == model.PolicyNone && len(o.open) > 0 {
		return usagef("--network none reaches nothing: leave --host-port out, or choose another network")
	}
	return nil
}

func runSet(ctx context.Context, a *app, o *setOptions, refs []string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	change := client.NetworkChange{Policy: string(o.policy), OpenHostPorts: o.open, CloseHostPorts: o.close}
	return a.each(ctx, c, refs, func(ctx context.Context, v client.VM) (string, error) {
		return v.Name, c.SetNetwork(ctx, v.ID, change)
	})
}

// completeHostPorts offers the ports of the host that are open to the VMs on the command line, or, where none is there yet,
// to any.
func (a *app) completeHostPorts(cmd *cobra.Command, refs []string, start string) ([]string, cobra.ShellCompDirective) {
	return a.live(cmd.Context(), start, func(ctx context.Context, c *client.Client) ([]string, error) {
		vms, err := c.VMs(ctx, false)
		var open []int
		for _, v := range vms {
			if len(refs) == 0 || slices.Contains(refs, v.Name) || slices.Contains(refs, v.ID) {
				open = append(open, v.HostPorts...)
			}
		}
		slices.Sort(open)
		return mapped(slices.Compact(open), strconv.Itoa), err
	})
}
