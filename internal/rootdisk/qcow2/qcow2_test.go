package qcow2

import (
	"log/slog"
	"testing"

	"banger/internal/rootdisk"
	"banger/internal/rootdisk/rootdisktest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	rootdisktest.Run(t, rootdisktest.Harness{
		New: func(_ *testing.T, vms string) rootdisk.Driver {
			return New(Options{VMs: vms, Log: slog.New(slog.DiscardHandler)})
		},
	})
}
