package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/vmm"
)

func TestHasConsole(t *testing.T) {
	t.Parallel()
	s := &Service{Options: Options{
		Dirs: dirs.Dirs{State: t.TempDir()},
		VMMs: []vmm.Driver{vmmStub{name: "mute"}, vmmStub{name: "loud", features: vmm.Features{Console: true}}},
	}}
	v := model.VM{ID: model.NewVMID(), Name: "box", VMM: "loud"}
	if err := s.hasConsole(t.Context(), v); err != nil {
		t.Errorf("with a console: %v", err)
	}
	v.VMM = "mute"
	if err := s.hasConsole(t.Context(), v); !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), "[mute]") {
		t.Errorf("without: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.consoleFile(v.ID)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.consoleFile(v.ID), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.hasConsole(t.Context(), v); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("with an empty file: %v", err)
	}
	if err := os.WriteFile(s.consoleFile(v.ID), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.hasConsole(t.Context(), v); err != nil {
		t.Errorf("with what an earlier one said: %v", err)
	}
}
