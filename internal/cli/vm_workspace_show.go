package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

func newWorkspaceShow(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:               "show VM",
		Short:             "Show what is recorded of a VM's project",
		Long:              "Show where a VM's project came from, where it is in the guest, and whether the host's has moved on since.",
		Example:           `  banger vm workspace show box`,
		Args:              names("VM", 1, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE:              func(cmd *cobra.Command, args []string) error { return runWorkspaceShow(cmd.Context(), a, f, args[0]) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runWorkspaceShow(ctx context.Context, a *app, f format, ref string) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := resolveOne(ctx, c, ref)
	if err != nil {
		return err
	}
	w, err := c.ShowWorkspace(ctx, v.ID)
	if err != nil {
		return err
	}
	if f == formatJSON {
		return a.writeJSON(w)
	}
	undo := "nothing"
	if w.CanUndo {
		undo = "banger vm workspace undo " + v.Name
	}
	fields := [][2]string{
		{"Project", w.Host}, {"In the guest", w.Guest}, {"Files", strconv.FormatInt(w.Files, 10) + ", " + size(w.Bytes)},
		{"Copied", w.CopiedAt.Local().Format(time.RFC3339)}, {"Exported", moment(w.ExportedAt)}, {"Applied", moment(w.AppliedAt)},
		{"To undo", undo},
	}
	for _, optional := range [][2]string{{"Branch", w.Branch}, {"Commit", w.Commit}, {"Since then", w.Moved}} {
		if optional[1] != "" {
			fields = append(fields, optional)
		}
	}
	return a.writeFields(fields)
}

// withWorkspace does something with the workspace of one VM.
func (a *app) withWorkspace(ctx context.Context, ref string, do func(c *client.Client, v client.VM) error) error {
	c, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := resolveOne(ctx, c, ref)
	if err != nil {
		return err
	}
	return a.lines(do(c, v))
}
