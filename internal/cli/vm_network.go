package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMNetwork(a *app) *cobra.Command {
	return group("network", "Explain what VMs may reach", newVMNetworkDenied(a), newVMNetworkCheck(a))
}

func newVMNetworkDenied(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:   "denied VM",
		Short: "List what a VM wanted to reach and might not",
		Long: `List what a running VM wanted to reach and its policy refused, each destination once, the latest first, with the rule
that said no. At most 256 are kept.`,
		Example:           "  banger vm network denied box",
		Args:              names("VM", 1, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withVM(cmd.Context(), a, args[0], func(ctx context.Context, c *client.Client, v client.VM) error {
				denials, err := c.Denied(ctx, v.ID)
				if err != nil {
					return err
				}
				return a.writeDenials(f, denials)
			})
		},
	}
	addFormat(cmd, &f)
	return cmd
}

func (a *app) writeDenials(f format, denials []client.Denial) error {
	if f == formatJSON {
		return a.writeJSON(denials)
	}
	if a.quiet {
		return a.writeNames(mapped(denials, func(d client.Denial) string { return d.Destination }))
	}
	now := time.Now()
	return a.writeTable([]string{"PROTOCOL", "DESTINATION", "COUNT", "LAST", "RULE"}, mapped(denials, func(d client.Denial) []string {
		return []string{d.Protocol, d.Destination, strconv.FormatUint(d.Count, 10), age(now, d.Last), d.Rule}
	}))
}

func newVMNetworkCheck(a *app) *cobra.Command {
	var f format
	var udp bool
	cmd := &cobra.Command{
		Use:   "check VM HOST:PORT",
		Short: "Ask whether a VM may reach a destination",
		Long: `Ask the policy of a running VM about one destination, a name or an address with a port, by the code that decides on its
packets. The exit code is 0 when the VM may reach it and 1 when not.`,
		Example: `  banger vm network check box example.org:443
  banger vm network check --udp box 192.0.2.1:53`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("name a VM and a destination, such as example.org:443")
			}
			return nil
		},
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withVM(cmd.Context(), a, args[0], func(ctx context.Context, c *client.Client, v client.VM) error {
				verdict, err := c.Check(ctx, v.ID, args[1], udp)
				if err != nil {
					return err
				}
				if err := a.writeVerdict(f, verdict); err != nil {
					return err
				}
				if !verdict.Allowed {
					return &statusError{exitError}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&udp, "udp", false, "a datagram, not a connection")
	addFormat(cmd, &f)
	return cmd
}

func (a *app) writeVerdict(f format, v client.Verdict) error {
	answer := "denied"
	if v.Allowed {
		answer = "allowed"
	}
	switch {
	case f == formatJSON:
		return a.writeJSON(v)
	case a.quiet:
		return a.writeNames([]string{answer})
	}
	fields := [][2]string{{"Destination", v.Destination}, {"Answer", answer}, {"Rule", v.Rule}}
	if len(v.Addresses) > 0 {
		fields = append(fields, [2]string{"Addresses", strings.Join(v.Addresses, " ")})
	}
	return a.writeFields(fields)
}
