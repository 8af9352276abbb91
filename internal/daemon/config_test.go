package daemon

import (
	"os"
	"path/filepath"
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
			if got.VCPUs != want.VCPUs || got.MemoryBytes != want.MemoryBytes || got.Image != want.Image {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
