package companion

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFind(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(filepath.Dir(self), "banger-test-beside")
	if err := os.WriteFile(beside, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(beside) })
	if path, err := Find("banger-test-beside"); err != nil || path != beside {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := Find("banger-test-nowhere"); !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), "banger-test-nowhere") {
		t.Errorf("a missing one: %v", err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if v, err := Version(t.Context(), script(t, `[ "$*" = --version ] && echo v1.2.3`)); err != nil || v != "v1.2.3" {
		t.Errorf("%q, %v", v, err)
	}
	for name, body := range map[string]string{
		"silent": "true", "failing": "echo v1; exit 1", "two lines": "echo v1; echo v2", "endless": "exec yes",
	} {
		if v, err := Version(t.Context(), script(t, body)); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
	if _, err := Version(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("missing: %v", err)
	}
}

func TestOutputIsCapped(t *testing.T) {
	t.Parallel()
	for most, ok := range map[int64]bool{6: true, 5: false} {
		out, err := Output(exec.Command("echo", "hello"), most)
		if (err == nil) != ok || int64(len(out)) > most+1 {
			t.Errorf("at most %d: %q, %v", most, out, err)
		}
	}
}
