package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/system"
)

// host is what the commands below system ask of this machine.
type host interface {
	Install(ctx context.Context, named, firecracker string) (owner int, err error)
	Restart(ctx context.Context) error
	Status(ctx context.Context) (system.Status, error)
	Uninstall(ctx context.Context, purge bool) error
}

func newSystem(a *app) *cobra.Command {
	cmd := group("system", "Install what needs root: the privileged helper",
		newSystemInstall(a), newSystemStatus(a), newSystemRestart(a), newSystemUninstall(a))
	cmd.Long = `Install what needs root: the privileged helper, a service of systemd that does a few things for the daemon of one
user. Nothing needs it. With it root disks can be snapshots of the kernel's, networks a bridge of the host's, and Firecracker's
processes jailed.`
	return cmd
}
