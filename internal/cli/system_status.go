package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"banger/internal/model"
)

func newSystemStatus(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether the privileged helper is installed, for whom, and whether it answers",
		Long: `Show whether the privileged helper is installed, for whom, and whether it answers. The exit code is 1 when it is not
installed, or not as it should be. Anybody may ask; the helper itself answers its owner and root alone.`,
		Example: `  banger system status
  banger system status --format json`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runSystemStatus(cmd.Context(), a, f) },
	}
	addFormat(cmd, &f)
	return cmd
}

func runSystemStatus(ctx context.Context, a *app, f format) error {
	s, err := a.system().Status(ctx)
	if err != nil {
		return err
	}
	switch {
	case f == formatJSON:
		err = a.writeJSON(s)
	case s.Owner == nil:
		a.say("banger's helper is not installed; nothing needs it, and this installs it: sudo banger system install")
	default:
		fields := [][2]string{{"Owner", "uid " + strconv.Itoa(*s.Owner)}, {"Program", s.Program}}
		for _, v := range s.Services {
			state := "answers, version " + v.Version
			if v.Problem != "" {
				state = model.Advise(v.Problem, v.Fix)
			}
			fields = append(fields, [2]string{"Service " + v.Name, v.Socket + ": " + state})
		}
		err = a.writeFields(fields)
	}
	if err == nil && !s.OK() {
		err = &statusError{exitError}
	}
	return err
}
