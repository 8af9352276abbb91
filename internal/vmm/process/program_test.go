package process

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
)

// script makes a program that answers says, and counts how often it was asked.
func script(t *testing.T, says string) (path string, runs func() int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "monitor")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho ran >>\"$0.runs\"\n"+says+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, func() int {
		raw, err := os.ReadFile(path + ".runs")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(raw), "ran")
	}
}

func TestVersionIsKept(t *testing.T) {
	t.Parallel()
	path, runs := script(t, "echo one")
	p := Program{Name: "monitor", Path: path, Cache: filepath.Join(t.TempDir(), "new", "cache"), Log: slog.New(slog.DiscardHandler)}
	ask := func(want string, times int) {
		t.Helper()
		got, text, err := p.Version(t.Context())
		if err != nil || got != path || text != want {
			t.Errorf("%s says %q, %v", got, text, err)
		}
		if n := runs(); n != times {
			t.Errorf("asked %d times", n)
		}
	}
	ask("one\n", 1)
	ask("one\n", 1)
	for i, rubbish := range []string{"", "null", "{", `{"size":-1}`} {
		if err := os.WriteFile(p.file(), []byte(rubbish), 0o600); err != nil {
			t.Fatal(err)
		}
		ask("one\n", i+2)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho ran >>\"$0.runs\"\necho another\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ask("another\n", 6)
	p.Cache = ""
	ask("another\n", 7)
	ask("another\n", 8)
}

func TestVersionFails(t *testing.T) {
	t.Parallel()
	failing, _ := script(t, "exit 1")
	for name, p := range map[string]Program{
		"failing":       {Path: failing},
		"missing":       {Path: filepath.Join(t.TempDir(), "absent")},
		"not installed": {Name: "banger-no-such-program", Absent: model.Errorf(model.ErrUnsupported, "install it: somehow")},
	} {
		_, _, err := p.Version(t.Context())
		if !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		if p.Absent != nil && !errors.Is(err, p.Absent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	endless, _ := script(t, "head -c 100000 /dev/zero | tr '\\0' x")
	if _, text, err := (Program{Path: endless}).Version(t.Context()); err != nil || len(text) != maxVersion {
		t.Errorf("an endless version: %d bytes, %v", len(text), err)
	}
}
