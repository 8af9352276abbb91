package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"
)

func newSystemInstall(a *app) *cobra.Command {
	var owner, firecracker string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the privileged helper for a user, or this version of it",
		Long: `Install the privileged helper for a user, or this version in place of another one. It needs root and systemd. It
returns when the helper answers; VMs go on meanwhile.

The program goes to /usr/local/lib/banger, and with it Firecracker and its jailer, so that virtual machines can be run in
jails: what runs as root must be nobody else's to change. Units of systemd go to /etc/systemd/system, rules of udev to
/etc/udev/rules.d, sockets to /run/banger. All of it is root's, and "banger system uninstall" leaves none of it.`,
		Example: `  sudo banger system install                  for the user who calls sudo
  banger system install --owner alice         as root
  sudo banger system install --firecracker /opt/firecracker/firecracker`,
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSystemInstall(cmd.Context(), a, owner, firecracker)
		},
	}
	cmd.Flags().StringVar(&owner, "owner", "", "name or uid of the user whom it serves; otherwise the one who called sudo")
	cmd.Flags().StringVar(&firecracker, "firecracker", "", "path of Firecracker's program, with the jailer beside it; otherwise those in PATH, if any")
	return cmd
}

func runSystemInstall(ctx context.Context, a *app, owner, firecracker string) error {
	uid, err := a.system().Install(ctx, owner, firecracker)
	if err == nil && !a.quiet {
		a.say("the helper is installed for uid " + strconv.Itoa(uid) + "; a daemon that runs uses it from now on")
	}
	return err
}
