package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"banger/client"
)

func newWorkspaceUndo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "undo VM",
		Short: "Take the last export --apply back",
		Long: `Take the last export --apply back: all of it or nothing, and only where each file is still as that left it. The guest keeps
its changes.`,
		Example:           `  banger vm workspace undo box`,
		Args:              names("VM", 1, 1),
		ValidArgsFunction: a.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWorkspace(cmd.Context(), args[0], func(c *client.Client, v client.VM) error {
				changes, err := c.UndoWorkspace(cmd.Context(), v.ID)
				if err != nil {
					return err
				}
				var b strings.Builder
				writeChanges(&b, changes)
				if _, err := io.WriteString(a.Err, b.String()); err != nil {
					return err
				}
				were := "changes were"
				if len(changes) == 1 {
					were = "change was"
				}
				a.say(fmt.Sprintf("%d %s taken back", len(changes), were))
				return nil
			})
		},
	}
}
