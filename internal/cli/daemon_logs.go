package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"banger/client"
)

func newDaemonLogs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "logs",
		Short:             "Print the daemon's log",
		Long:              "Print the daemon's log. It works without a daemon too.",
		Args:              nothing,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return runDaemonLogs(a) },
	}
}

func runDaemonLogs(a *app) error {
	paths, err := client.Locate()
	if err != nil {
		return err
	}
	f, err := os.Open(paths.Log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no daemon has ever run, so nothing was logged
	}
	if err != nil {
		return fmt.Errorf("cannot read the daemon's log: %w", err)
	}
	defer f.Close()
	return a.writeText(func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
