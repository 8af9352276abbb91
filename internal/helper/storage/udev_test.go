package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/testenv"
)

// deaf is a udev that cannot be told.
type deaf struct{ err error }

// Ready implements Rules.
func (d deaf) Ready() error { return d.err }

func TestNoDeviceIsMadeThatUdevWouldLookInto(t *testing.T) {
	t.Parallel()
	h, id := own(t), model.NewVMID()
	wrong := errors.New("it does not answer")
	h.o.Udev = deaf{wrong}
	if _, err := h.OpenDrive(id, 0, file(t, 1<<20, os.O_RDWR), false); !errors.Is(err, wrong) {
		t.Errorf("got %v", err)
	}
	if idle, err := h.Idle(); err != nil || !idle {
		t.Errorf("there are devices, or %v", err)
	}
	h.o.Udev = testenv.Udev{}
	drive, err := h.OpenDrive(id, 0, file(t, 1<<20, os.O_RDWR), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.CloseDrives(t.Context(), id) })
	if idle, err := h.Idle(); err != nil || idle {
		t.Errorf("there are none, or %v", err)
	}
	size, err := os.ReadFile("/sys/block/" + strings.TrimPrefix(drive.Loop, "/dev/") + "/size")
	if err != nil || strings.TrimSpace(string(size)) != "2048" {
		t.Errorf("it has %q sectors, %v", size, err)
	}
	found := loopsOf(t, h, id)[partDrive+"0"]
	if found.info == nil || found.info.Sizelimit != loopMark {
		t.Errorf("it bears no mark: %+v", found.info)
	}
	if err := h.CloseDrives(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// TestNoFileIsAsLargeAsTheMark has what banger allows stay far below it.
func TestNoFileIsAsLargeAsTheMark(t *testing.T) {
	t.Parallel()
	if loopMark <= COWBytes(model.MaxDiskBytes) {
		t.Errorf("a disk of %d bytes would be cut", model.MaxDiskBytes)
	}
}

func TestRulesAreThoseOfThisVersionOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "rules")
	if err := hasRules(path); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	for text, known := range map[string]bool{"": false, "# other\n": false, string(UdevRules): true} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := hasRules(path); (err == nil) != known {
			t.Errorf("of %q: %v", text, err)
		}
	}
}
