package cli

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"banger/client"
)

func newDaemonStatus(a *app) *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether the daemon runs, and where its files are",
		Long: `Show whether the daemon runs, and where its files are. It starts none; the exit code is 1 when none runs.
Every other command starts the daemon when it needs it.`,
		Example: `  banger daemon status
  banger daemon status --format json`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runDaemonStatus(cmd.Context(), a, f) },
	}
	addFormat(cmd, &f)
	return cmd
}

// absent is the JSON of a daemon that does not run.
type absent struct {
	PID     *int    `json:"pid"`     // null
	Version *string `json:"version"` // null
	client.Paths
}

func runDaemonStatus(ctx context.Context, a *app, f format) error {
	c, err := a.dial(ctx, false)
	if errors.Is(err, client.ErrUnavailable) {
		return a.daemonAbsent(f)
	}
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if f == formatJSON {
		return a.writeJSON(s)
	}
	runs := s.VMM + ", " + s.Accel
	if s.Problem != "" {
		runs = "nothing here: " + s.Problem
	} else if s.Slow != "" {
		runs += " (" + s.Slow + ")"
	}
	return a.writeFields([][2]string{
		{"Process", strconv.Itoa(s.PID)}, {"Version", s.Version}, {"Socket", s.Socket}, {"State", s.StateDir},
		{"Data", s.DataDir}, {"Log", s.Log}, {"VMs run by", runs},
	})
}

func (a *app) daemonAbsent(f format) error {
	paths, err := client.Locate()
	if err != nil {
		return err
	}
	if f == formatJSON {
		if err := a.writeJSON(absent{Paths: paths}); err != nil {
			return err
		}
		return &statusError{exitError}
	}
	a.say("no daemon is running; the next command that needs it starts it")
	return &statusError{exitError}
}
