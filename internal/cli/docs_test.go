package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestDocsAreTheSameTwice(t *testing.T) {
	t.Parallel()
	first, second := t.TempDir(), t.TempDir()
	stale := filepath.Join(second, "banger_gone.md")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{first, second} {
		if err := Docs(dir); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := os.ReadDir(first)
	if err != nil {
		t.Fatal(err)
	}
	others, err := os.ReadDir(second)
	if err != nil || len(others) != len(pages) {
		t.Fatalf("%d pages and %d, %v", len(pages), len(others), err)
	}
	for _, p := range pages {
		a, _ := os.ReadFile(filepath.Join(first, p.Name()))
		b, _ := os.ReadFile(filepath.Join(second, p.Name()))
		if len(a) == 0 || string(a) != string(b) {
			t.Errorf("%s differs", p.Name())
		}
	}
	run, err := os.ReadFile(filepath.Join(first, "banger_vm_run.md"))
	if err != nil || !strings.Contains(string(run), "--disk-size") {
		t.Errorf("vm run: %v\n%s", err, run)
	}
}

// Every command has help that a newcomer can use, and refuses arguments that it does not know.
func TestEveryCommandIsDescribed(t *testing.T) {
	t.Parallel()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Runnable() && cmd.Args == nil {
			t.Errorf("%s takes any argument", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot(newApp(Streams{})))
}
