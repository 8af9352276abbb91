package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newVMShow(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:     "show VM...",
		Aliases: []string{"inspect"},
		Short:   "Show what VMs are",
		Long:    "Show what VMs are and what is true of them now. As JSON, one VM is an object and several are a list.",
		Example: `  banger vm show box
  banger vm show box --format json`,
		Args:              names("VM", 1, 0),
		ValidArgsFunction: a.completeVMs,
		RunE:              func(cmd *cobra.Command, refs []string) error { return runShow(cmd.Context(), a, f, refs) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runShow(ctx context.Context, a *app, f format, refs []string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := c.Resolve(ctx, refs)
	if err != nil {
		return err
	}
	vms := []client.VM{}
	failed := false
	for _, r := range found {
		if r.Err != nil {
			failed = true
			a.say(r.Err.Error())
			continue
		}
		vms = append(vms, r.VM)
	}
	if err := showEach(a, f, len(refs) > 1, vms, vmFields); err != nil {
		return err
	}
	if failed {
		return &statusError{exitError}
	}
	return nil
}

// showEach prints things as a list, or, when only one was asked for, as itself.
func showEach[T any](a *app, f format, several bool, things []T, fields func(T) [][2]string) error {
	switch {
	case f == formatJSON && several:
		return a.writeJSON(things)
	case f == formatJSON && len(things) == 1:
		return a.writeJSON(things[0])
	case f == formatJSON:
		return nil
	}
	for i, t := range things {
		if i > 0 {
			if err := a.write([]byte("\n")); err != nil {
				return err
			}
		}
		if err := a.writeFields(fields(t)); err != nil {
			return err
		}
	}
	return nil
}

func vmFields(v client.VM) [][2]string {
	process := "none"
	if v.Handles.VMM != nil {
		process = strconv.Itoa(v.Handles.VMM.PID)
	}
	fields := [][2]string{
		{"Name", v.Name}, {"ID", v.ID}, {"State", v.State},
		{"Image", v.Image + " (" + shortDigest(v.ImageDigest) + ")"}, {"Kernel", v.Kernel + " (" + shortDigest(v.KernelDigest) + ")"},
		{"VMM", v.VMM}, {"VMM process", process}, {"Root disk", v.RootDisk}, {"VCPUs", strconv.Itoa(v.VCPUs)},
		{"Memory", size(v.MemoryBytes)}, {"Disk", size(v.DiskBytes)}, {"Network", v.Network},
		{"Created", v.CreatedAt.Local().Format(time.RFC3339)}, {"Started", moment(v.StartedAt)}, {"Used", moment(v.UsedAt)},
		{"Directory", v.Dir},
	}
	if v.Workspace != nil {
		fields = append(fields, [2]string{"Workspace", v.Workspace.Guest + ", from " + v.Workspace.Host})
	}
	for _, optional := range [][2]string{
		{"Environment", strings.Join(v.Env, " ")}, {"Working directory", v.Workdir}, {"User", v.User},
		{"Ports", strings.Join(mapped(v.Ports, portText), " ")},
		{"Host ports", strings.Trim(fmt.Sprint(v.HostPorts), "[]")},
		{"Boot", v.Handles.BootID}, {"Last error", v.LastError},
	} {
		if optional[1] != "" {
			fields = append(fields, optional)
		}
	}
	return fields
}
