package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBlock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "page.md")
	page := "above\n<!-- states -->\nold\n<!-- /states -->\nbelow\n"
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := block(path, "states", "new\n", true); err == nil || !strings.Contains(err.Error(), "make generate") {
		t.Errorf("a check of an old page says %v", err)
	}
	if err := block(path, "states", "new\n", false); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := strings.Replace(page, "old", "new", 1); err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := block(path, "states", "new\n", true); err != nil {
		t.Errorf("a check of a fresh page says %v", err)
	}
	if err := block(path, "absent", "new\n", false); err == nil {
		t.Error("a page without the block was accepted")
	}
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mod, page := filepath.Join(dir, "go.mod"), filepath.Join(dir, "page.md")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(mod, "module m\n\ngo 1.26\n\nrequire a.b/one v1.0.0\n\nrequire (\n\ta.b/two v1.0.0\n\ta.b/three v1.0.0 // indirect\n)\n")
	write(page, "| a.b/one | for | 2026 | MIT |\n")
	if err := dependencies(mod, page); err == nil || !strings.HasSuffix(err.Error(), "no row for a.b/two") {
		t.Errorf("got %v", err)
	}
	write(page, "| a.b/one | x |\n| a.b/two | x |\n")
	if err := dependencies(mod, page); err != nil {
		t.Error(err)
	}
}

func TestStateDiagram(t *testing.T) {
	t.Parallel()
	diagram := stateDiagram()
	for _, line := range []string{"[*] --> creating", "starting --> running", "deleting --> [*]"} {
		if !strings.Contains(diagram, "    "+line+"\n") {
			t.Errorf("the diagram has no %q:\n%s", line, diagram)
		}
	}
}
