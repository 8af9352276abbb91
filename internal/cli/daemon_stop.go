package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"banger/client"
)

// daemonStopLimit is how long a daemon may take to end; what it does not finish the next one settles.
const daemonStopLimit = 30 * time.Second

func newDaemonStop(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "stop",
		Short:             "Stop the daemon; VMs go on",
		Long:              "Stop the daemon and wait until it is gone. VMs go on, and the next daemon finds them.",
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return stopDaemon(cmd.Context(), a) },
	}
}

// stopDaemon succeeds as well when none runs.
func stopDaemon(ctx context.Context, a *app) error {
	ctx, cancel := context.WithTimeout(ctx, daemonStopLimit)
	defer cancel()
	c, err := a.dial(ctx, false)
	if errors.Is(err, client.ErrUnavailable) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	return c.StopDaemon(ctx)
}
