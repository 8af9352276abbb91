package cli

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"banger/client"
	"banger/internal/model"
)

func newVMPort(a *app) *cobra.Command {
	return group("port", "Publish ports of VMs on the host", newVMPortAdd(a), newVMPortRemove(a), newPorts(a, "list"))
}

func newVMPortAdd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "add VM [IP:]HOST:GUEST[/udp]...",
		Short: "Publish ports of a VM",
		Long: `Publish ports of a VM on the host, at 127.0.0.1 unless an address is given. HOST 0 takes any free port. What was
published is printed. A VM that does not run publishes them when it starts.`,
		Example: `  banger vm port add box 8080:80
  banger vm port add box 0.0.0.0:5353:53/udp`,
		Args:              vmAndPorts,
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			var ports publishFlag
			for _, text := range args[1:] {
				if err := ports.Set(text); err != nil {
					return err
				}
			}
			return withVM(cmd.Context(), a, args[0], func(ctx context.Context, c *client.Client, v client.VM) error {
				for _, p := range ports {
					added, err := c.AddPort(ctx, v.ID, portOf(p))
					if err != nil {
						return err
					}
					if err := a.writeNames([]string{portText(added)}); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func newVMPortRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "remove VM [HOST:]GUEST[/udp]...",
		Aliases: []string{"rm"},
		Short:   "Take published ports of a VM away",
		Long: `Take published ports of a VM away, with the connections through them, and print them. Without HOST all that lead to
that port of the guest go. A port that appeared by itself goes when the guest no longer listens.`,
		Example: `  banger vm port remove box 80
  banger vm port remove box 8080:80`,
		Args:              vmAndPorts,
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			var ports []model.PortForward
			for _, text := range args[1:] {
				p, err := portToRemove(text)
				if err != nil {
					return err
				}
				ports = append(ports, p)
			}
			return withVM(cmd.Context(), a, args[0], func(ctx context.Context, c *client.Client, v client.VM) error {
				for _, p := range ports {
					gone, err := c.RemovePort(ctx, v.ID, int(p.GuestPort), int(p.HostPort), p.UDP)
					if err != nil {
						return err
					}
					if err := a.writeNames(mapped(gone, portText)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// portToRemove reads a port as port add takes it, or the guest's number alone.
func portToRemove(text string) (model.PortForward, error) {
	number, protocol, given := strings.Cut(text, "/")
	if strings.Contains(number, ":") {
		return model.ParsePort(text)
	}
	number = "0:" + number
	if given {
		number += "/" + protocol
	}
	p, err := model.ParsePort(number)
	if err != nil {
		return p, usagef("%q is not a port of the VM: write GUEST or HOST:GUEST, with /udp where it is one", text)
	}
	return p, nil
}

func vmAndPorts(_ *cobra.Command, args []string) error {
	if len(args) < 2 {
		return usagef("name a VM and a port")
	}
	return nil
}

// newPorts lists ports; it stands in two places.
func newPorts(a *app, use string) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:   use + " [VM]",
		Short: "List the ports of a VM, or of all that run, on the host",
		Long: `List the ports of a VM on the host: those that were published, and those that are there because something in the VM
listens. Of a VM that does not run they are those that it will publish. Without a VM, list the ports of all that run.

A VM on a bridge of the host's is reached as it is: what listens in it and is not published is listed at its name, where
that resolves, or at its address.`,
		Example: `  banger vm ports
  banger vm ports box
  curl $(banger vm ports -q box)`,
		Args:              names("VM", 0, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listAllPorts(cmd.Context(), f)
			}
			return withVM(cmd.Context(), a, args[0], func(ctx context.Context, c *client.Client, v client.VM) error {
				ports, err := c.Ports(ctx, v.ID)
				if err != nil {
					return err
				}
				return a.writePorts(f, false, portsOf(v, ports))
			})
		},
	}
	addFormat(cmd, &f)
	return cmd
}

// listAllPorts lists the ports of the VMs that run, as the daemon knows them: no guest is asked.
func (a *app) listAllPorts(ctx context.Context, f format) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	vms, err := c.VMs(ctx, true)
	if err != nil {
		return err
	}
	all := []vmPort{}
	for _, v := range vms {
		all = append(all, portsOf(v, v.Ports)...)
	}
	return a.writePorts(f, true, all)
}

// vmPort is a port and whose it is, as JSON prints it.
type vmPort struct {
	VM string `json:"vm"`
	client.Port
}

func portsOf(v client.VM, ports []client.Port) []vmPort {
	return mapped(ports, func(p client.Port) vmPort { return vmPort{v.Name, p} })
}

// writePorts prints ports; with several, those of more than one VM.
func (a *app) writePorts(f format, several bool, ports []vmPort) error {
	if f == formatJSON {
		return a.writeJSON(ports)
	}
	if a.quiet {
		return a.writeNames(mapped(ports, func(p vmPort) string { return cmp.Or(p.URL, hostOf(p.Port)) }))
	}
	header := []string{"GUEST", "HOST", "KIND", "URL"}
	if several {
		header = append([]string{"VM"}, header...)
	}
	return a.writeTable(header, mapped(ports, func(p vmPort) []string {
		kind := "published"
		if p.Auto {
			kind = "auto"
		}
		row := []string{strconv.Itoa(p.GuestPort) + "/" + p.Protocol, hostOf(p.Port), kind, p.URL}
		if several {
			row = append([]string{p.VM}, row...)
		}
		return row
	}))
}

// hostOf is where a port is on the host.
func hostOf(p client.Port) string {
	if p.HostName != "" {
		return p.HostName + ":" + strconv.Itoa(p.HostPort)
	}
	return strings.TrimSuffix(portText(p), guestPart(p))
}

func guestPart(p client.Port) string {
	text := ":" + strconv.Itoa(p.GuestPort)
	if p.Protocol == "udp" {
		text += "/udp"
	}
	return text
}

// portText is a port as port add takes it.
func portText(p client.Port) string {
	host := p.HostIP
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(p.HostPort) + guestPart(p)
}

// withVM does work for the one VM that ref names.
func withVM(ctx context.Context, a *app, ref string, work func(ctx context.Context, c *client.Client, v client.VM) error) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := resolveOne(ctx, c, ref)
	if err != nil {
		return err
	}
	return work(ctx, c, v)
}
