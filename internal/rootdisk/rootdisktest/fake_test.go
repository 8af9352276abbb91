package rootdisktest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/rootdisk"
)

func devices(vms string) string { return filepath.Join(filepath.Dir(vms), "devices") }

func TestFake(t *testing.T) {
	t.Parallel()
	Run(t, Harness{
		New: func(_ *testing.T, vms string) rootdisk.Driver { return NewFake(vms, devices(vms), nil) },
		Devices: func(_ *testing.T, vms string, id model.VMID) bool {
			_, err := os.Stat(filepath.Join(devices(vms), "fake-"+string(id)))
			return err == nil
		},
	})
}

func TestFakeFailsAndPrints(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var armed bool
	w := newWorld(t, Harness{New: func(_ *testing.T, vms string) rootdisk.Driver {
		return NewFake(vms, devices(vms), func(call string, _ model.VMID) error {
			if armed && call == "Deactivate" {
				return broken
			}
			return nil
		})
	}}, t.TempDir())
	id := w.created(t)
	disk := w.activate(t, id)
	armed = true
	if err := w.Deactivate(t.Context(), id, disk.Handles); !errors.Is(err, broken) {
		t.Errorf("got %v, want broken", err)
	}
	if got := w.Driver.(*Fake).String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "fake-"+string(id)) {
		t.Errorf("the host prints as %q", got)
	}
}
