package cli

import "github.com/spf13/cobra"

func newDaemon(a *app) *cobra.Command {
	return group("daemon", "Look after the daemon that runs your VMs",
		newDaemonStatus(a), newDaemonStop(a), newDaemonRestart(a), newDaemonLogs(a))
}
