package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/vmm"
)

// script makes a program that stands for QEMU where only its version is asked.
func script(t *testing.T, says string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), program)
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho ran >>\"$0.runs\"\n"+says+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ says, problem string }{
		"new":       {"echo 'QEMU emulator version 7.2.22 (Debian)'", ""},
		"newer":     {"echo 'QEMU emulator version 10.0.3'", ""},
		"candidate": {"echo 'QEMU emulator version 8.0.0-rc1'", ""},
		"old":       {"echo 'QEMU emulator version 6.2.0'", "too old"},
		"older":     {"echo 'QEMU emulator version 7.1.0'", "too old"},
		"else":      {"echo 'GNU bash, version 5.2'", "not QEMU"},
		"silent":    {"true", "not QEMU"},
		"failing":   {"exit 1", "cannot ask"},
	} {
		f := New(Options{Binary: script(t, test.says)}).Features(t.Context())
		if test.problem == "" && (f.Problem != "" || f.Version == "" || f.Accel == "") {
			t.Errorf("%s: %+v", name, f)
		}
		if !strings.Contains(f.Problem, test.problem) {
			t.Errorf("%s: %+v", name, f)
		}
		if (f.Accel == "tcg") != (f.Slow != "") {
			t.Errorf("%s: emulation and its reason go together: %+v", name, f)
		}
	}
	absent := New(Options{Binary: filepath.Join(t.TempDir(), "absent")})
	if f := absent.Features(t.Context()); f.Problem == "" {
		t.Errorf("a missing program: %+v", f)
	}
	if _, err := absent.Start(t.Context(), vmm.Config{ID: model.NewVMID()}); model.KindOf(err) != model.ErrUnsupported {
		t.Errorf("a start without the program: %v", err)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	f := New(Options{}).Features(t.Context())
	if f.Problem == "" || f.Fix != "sudo apt-get install qemu-system-x86" {
		t.Errorf("it is not said what to install: %+v", f)
	}
}

func TestProbeIsKept(t *testing.T) {
	t.Parallel()
	cache, binary := filepath.Join(t.TempDir(), "new", "cache"), script(t, "echo 'QEMU emulator version 7.2.1'")
	runs := func() int {
		raw, err := os.ReadFile(binary + ".runs")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(raw), "ran")
	}
	first := New(Options{Binary: binary, Cache: cache}).Features(t.Context())
	second := New(Options{Binary: binary, Cache: cache}).Features(t.Context())
	if runs() != 1 || first.Version != second.Version || first.Slow != second.Slow {
		t.Errorf("asked %d times: %+v, %+v", runs(), first, second)
	}
	kept := filepath.Join(cache, "tsc.json")
	if f := New(Options{Binary: script(t, "echo 'QEMU emulator version 8.1.1'"), Cache: filepath.Join(cache, "none"), ReadOnly: true}).Features(t.Context()); f.Version != "8.1.1" {
		t.Errorf("with nothing to be kept: %+v", f)
	}
	if _, err := os.Stat(filepath.Join(cache, "none")); err == nil {
		t.Error("what was not to be kept was")
	}
	for _, rubbish := range []string{"", "null", "{", `{"tsc_khz":-1}`} {
		if err := os.WriteFile(kept, []byte(rubbish), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, h := New(Options{Binary: binary, Cache: cache}).features(t.Context()); h.TSCKHz < 100_000 {
			t.Errorf("with %q kept the clock runs at %d kHz", rubbish, h.TSCKHz)
		}
	}
	// Another QEMU in its place is seen.
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho 'QEMU emulator version 9.9.9 '\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if f := New(Options{Binary: binary, Cache: cache}).Features(t.Context()); f.Version != "9.9.9" {
		t.Errorf("the replaced program's version is %q", f.Version)
	}
}

func TestTSCIsSteady(t *testing.T) {
	t.Parallel()
	a, b := MeasureTSC(), MeasureTSC()
	if a < 100_000 || a > 20_000_000 {
		t.Fatalf("the time stamp counter runs at %d kHz", a)
	}
	if off := float64(a-b) / float64(a); off > 0.01 || off < -0.01 {
		t.Errorf("two measurements differ: %d and %d kHz", a, b)
	}
}
