package system

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

// TestFirecrackerGoesWithTheHelper, from where it is named or from PATH, and goes away with it.
func TestFirecrackerGoesWithTheHelper(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"bin", "opt"} {
		h := newHost(t)
		h.write(dir+"/firecracker", "Firecracker v1.16.1", 0o755)
		h.write(dir+"/jailer", "Jailer v1.16.1", 0o755)
		before := h.files()
		named := ""
		if dir != "bin" {
			named = filepath.Join(h.root, dir, "firecracker")
		}
		if _, err := h.system().Install(t.Context(), "", named); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"firecracker": "Firecracker v1.16.1", "jailer": "Jailer v1.16.1"} {
			if got := h.files()["/usr/local/lib/banger/"+name]; got != "-rwxr-xr-x "+text {
				t.Errorf("%s is %q", name, got)
			}
		}
		if err := h.system().Uninstall(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if after := h.files(); !maps.Equal(before, after) || h.unjailed != 1 {
			t.Errorf("left %q, jails taken away %d times", h.added(before), h.unjailed)
		}
	}
}

func TestWhichFirecrackerIsNotInstalled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		named string
		kind  error
		says  string
	}{
		"without a jailer":        {map[string]string{"opt/firecracker": "Firecracker v1.16.1"}, "opt/firecracker", model.ErrUnavailable, "jailer"},
		"of another version":      {map[string]string{"opt/firecracker": "Firecracker v1.16.1", "opt/jailer": "Jailer v1.16.0"}, "opt/firecracker", model.ErrUnsupported, "of version 1.16.0"},
		"with known holes":        {map[string]string{"opt/firecracker": "Firecracker v1.14.3", "opt/jailer": "Jailer v1.14.3"}, "opt/firecracker", model.ErrUnsupported, "too old"},
		"which is another":        {map[string]string{"opt/firecracker": "Jailer v1.16.1", "opt/jailer": "Jailer v1.16.1"}, "opt/firecracker", model.ErrUnsupported, "is not Firecracker"},
		"of another name":         {map[string]string{"opt/fc": "Firecracker v1.16.1", "opt/jailer": "Jailer v1.16.1"}, "opt/fc", model.ErrInvalid, "has to be called firecracker"},
		"which is not there":      {nil, "opt/firecracker", model.ErrUnavailable, "cannot install"},
		"of PATH, with no jailer": {map[string]string{"bin/firecracker": "Firecracker v1.16.1"}, "", nil, ""},
	} {
		h := newHost(t)
		for path, text := range c.files {
			h.write(path, text, 0o755)
		}
		named := c.named
		if named != "" {
			named = filepath.Join(h.root, named)
		}
		_, err := h.system().Install(t.Context(), "", named)
		if c.kind == nil {
			if _, there := h.files()["/usr/local/lib/banger/firecracker"]; err != nil || there {
				t.Errorf("%s: %v, installed: %t", name, err, there)
			}
			continue
		}
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUninstallEndsNoMachineInAJail(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	install(t, h)
	installed := h.files()
	h.jails = 2
	if err := h.system().Uninstall(t.Context(), false); !errors.Is(err, model.ErrState) || !strings.Contains(err.Error(), "2 machines run in jails") {
		t.Error(err)
	}
	if after := h.files(); !maps.Equal(installed, after) || h.unjailed > 0 {
		t.Errorf("something was changed: %d", h.unjailed)
	}
	if err := h.system().Uninstall(t.Context(), true); err != nil || h.unjailed != 1 {
		t.Errorf("purged: %v, %d", err, h.unjailed)
	}
}
