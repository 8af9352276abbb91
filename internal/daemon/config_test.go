package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"banger/internal/model"
)

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       func(*model.Spec)
		wrong      string
	}{
		{name: "empty", want: func(*model.Spec) {}},
		{name: "some", text: "vcpus = 4\nmemory = \"2GiB\"\n", want: func(s *model.Spec) { s.VCPUs, s.MemoryBytes = 4, 2*model.GiB }},
		{name: "unknown key", text: "memroy = \"2G\"\n", wrong: "line 1: there is no key \"memroy\""},
		{name: "zero", text: "vcpus = 0\n", wrong: "0 is not a possible number"},
		{name: "another type", text: "\nvcpus = \"two\"\n", wrong: "line 2: \"vcpus\""},
		{name: "network", text: "network = \"none\"\n", want: func(s *model.Spec) { s.Network = "none" }},
		{name: "bad network", text: "network = \"lan\"\n", wrong: "lan"},
		{name: "root disk", text: "root-disk = \"overlay\"\n", want: func(*model.Spec) {}},
		{name: "bad size", text: "memory = \"lots\"\n", wrong: "lots"},
		{name: "impossible", text: "vcpus = 1000\n", wrong: "1000"},
		{name: "not TOML", text: "vcpus: 4\n", wrong: "config.toml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := loadDefaults(path)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error is %v, want one that names %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := loadDefaults(filepath.Join(t.TempDir(), "missing"))
			if err != nil {
				t.Fatal(err)
			}
			c.want(&want)
			if got.VCPUs != want.VCPUs || got.MemoryBytes != want.MemoryBytes || got.Image != want.Image || got.Network != want.Network {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestLoadRootDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	drivers := Shipped(Host{Log: slog.New(slog.DiscardHandler)}).RootDisks
	for text, want := range map[string]string{
		"":                          "",
		"vcpus = 4\n":               "",
		"root-disk = \"overlay\"":   "overlay",
		"root-disk = \"qcow2\"":     "qcow2",
		"root-disk = \"overlayfs\"": "error: qcow2, dm-snapshot, overlay",
		"root-disk = 3":             "error: line 1",
	} {
		path := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loadRootDisk(path, drivers)
		if says, wrong := strings.CutPrefix(want, "error: "); wrong {
			if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%q: got %v, want an error that names %q and the file", text, err, says)
			}
		} else if got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestLoadNetwork(t *testing.T) {
	t.Parallel()
	drivers := Shipped(Host{Log: slog.New(slog.DiscardHandler)}).Networks
	for text, want := range map[string]string{
		"network = \"public\"":          "",
		"network-driver = \"bridge\"":   "bridge",
		"network-driver = \"user\"":     "user",
		"network-driver = \"br0\"":      "error: none, user, bridge",
		"network-driver = [\"bridge\"]": "error: line 1",
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loadNetwork(path, drivers)
		if says, wrong := strings.CutPrefix(want, "error: "); wrong {
			if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
				t.Errorf("%q: got %v, want an error that names %q and the file", text, err, says)
			}
		} else if got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestLoadFirecracker(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]FirecrackerConfig{
		"": {},
		"[firecracker]\nprogram = \"/opt/firecracker\"\nconsole = true\n": {Program: "/opt/firecracker", Console: true},
		"[firecracker]\njail = false\n":                                   {Jail: new(bool)},
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := loadFirecracker(path); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"[firecracker]\nprogram = \"firecracker\"\n": "absolute",
		"[firecracker]\nseccomp = false\n":           "there is no key \"firecracker.seccomp\"",
	} {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadFirecracker(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
