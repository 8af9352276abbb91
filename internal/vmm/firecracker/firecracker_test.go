package firecracker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/model"
	"banger/internal/testenv"
	"banger/internal/vmm"
	"banger/internal/vmm/kvm"
	"banger/internal/vmm/vmmtest"
)

// TestSuite holds the driver to its contract with real guests.
func TestSuite(t *testing.T) {
	h := guests(t)
	h.Rounds = 3
	suite(t, Options{Binary: testenv.NeedTool(t, program), Cache: t.TempDir()}, h)
}

// guests is a harness with real guests, or skips.
func guests(t *testing.T) vmmtest.Harness {
	t.Helper()
	testenv.NeedTool(t, program)
	kernel, initrd, modules := os.Getenv("BANGER_TEST_KERNEL"), os.Getenv("BANGER_TEST_INITRD"), os.Getenv("BANGER_TEST_MODULES")
	if kernel == "" || initrd == "" || modules == "" {
		t.Skip("not run: needs a guest: BANGER_TEST_KERNEL, BANGER_TEST_INITRD and BANGER_TEST_MODULES, which the lab sets")
	}
	if problem := kvm.New(kvm.Options{}).Verdict().Problem; problem != "" {
		t.Skipf("not run: needs KVM: %s", problem)
	}
	return vmmtest.Harness{
		Config: func(*testing.T) vmm.Config {
			return vmm.Config{
				VCPUs: 1, MemoryBytes: 256 * model.MiB, Kernel: kernel, Initrd: initrd,
				Drives: []model.Drive{{Path: modules, Format: "raw", ReadOnly: true, Serial: model.SerialModules}},
			}
		},
		Boot: 5 * time.Minute,
	}
}

// TestStandIn holds the driver to its contract where there is no Firecracker: the stand-in behaves as the recordings of a
// real one say.
func TestStandIn(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	suite(t, Options{Binary: self, Cache: t.TempDir(), KVM: anyKVM(t)}, vmmtest.Harness{
		Config: func(t *testing.T) vmm.Config {
			c := vmm.Config{VCPUs: 1, MemoryBytes: 256 * model.MiB, Kernel: "/dev/null", Initrd: "/dev/null"}
			return c
		},
	})
}

// suite runs the suite with a console and without.
func suite(t *testing.T, o Options, h vmmtest.Harness) {
	config := h.Config
	h.Console = "Linux version"
	h.Config = func(t *testing.T) vmm.Config {
		c := config(t)
		if strings.HasSuffix(t.Name(), "Console") {
			c.Cmdline = []string{"loglevel=7"} // the kernel's first line is what must not be missed
		}
		return c
	}
	h.New = func(t *testing.T) vmm.Driver {
		o := o
		o.Console = strings.HasSuffix(t.Name(), "Console") || strings.HasSuffix(t.Name(), "Leaks")
		return New(o)
	}
	vmmtest.Run(t, h)
}

// anyKVM is a probe that takes this host's KVM, whatever it is, for a good one.
func anyKVM(t *testing.T) *kvm.Probe {
	t.Helper()
	return kvm.Pretend(kvm.Verdict{})
}

// script makes a program that stands for Firecracker where only its version is asked.
func script(t *testing.T, says string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), program)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+says+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ says, problem string }{
		"least":       {"echo 'Firecracker v1.14.4'; echo", ""},
		"new":         {"echo 'Firecracker v1.16.1'; echo", ""},
		"newer":       {"echo 'Firecracker v2.0.0-dev'", ""},
		"mended":      {"echo 'Firecracker v1.15.1'", ""},
		"holes":       {"echo 'Firecracker v1.14.3'", "too old"},
		"old":         {"echo 'Firecracker v1.7.0'", "too old"},
		"one hole":    {"echo 'Firecracker v1.15.0'", "known hole"},
		"else":        {"echo 'GNU bash, version 5.2'", "not Firecracker"},
		"two numbers": {"echo 'Firecracker v1.16'", "not Firecracker"},
		"silent":      {"true", "not Firecracker"},
		"failing":     {"exit 1", "cannot ask"},
	} {
		f := New(Options{Binary: script(t, test.says), KVM: kvm.Pretend(kvm.Verdict{})}).Features(t.Context())
		if test.problem == "" && (f.Problem != "" || f.Version == "" || f.Accel != "kvm") {
			t.Errorf("%s: %+v", name, f)
		}
		if !strings.Contains(f.Problem, test.problem) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	good := script(t, "echo 'Firecracker v1.16.1'")
	if f := New(Options{Binary: good, KVM: kvm.Pretend(kvm.Verdict{Problem: "no device"})}).Features(t.Context()); !strings.Contains(f.Problem, "no device") {
		t.Errorf("without KVM: %+v", f)
	}
	if f := New(Options{Binary: good, KVM: kvm.Pretend(kvm.Verdict{Slow: "snail"})}).Features(t.Context()); f.Slow != "snail" || f.Problem != "" {
		t.Errorf("with a slow KVM: %+v", f)
	}
	absent := New(Options{Binary: filepath.Join(t.TempDir(), "absent")})
	if _, err := absent.Start(t.Context(), vmm.Config{ID: model.NewVMID()}); model.KindOf(err) != model.ErrUnsupported {
		t.Errorf("a start without the program: %v", err)
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if f := New(Options{}).Features(t.Context()); !strings.Contains(f.Problem, "docs/firecracker.md") {
		t.Errorf("the problem does not say where to look: %q", f.Problem)
	}
}

// TestCheckHostLooksAtFilters takes the tests' own process for a Firecracker that runs.
func TestCheckHostLooksAtFilters(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := model.CheckOK
	if unfiltered(os.Getpid()) != "" {
		want = model.CheckWarning
	}
	for name, c := range map[string]struct {
		binary string
		want   model.CheckStatus
		says   string
	}{
		"runs":     {self, want, "filters"},
		"does not": {script(t, "echo 'Firecracker v1.16.1'"), model.CheckOK, "no Firecracker runs"},
	} {
		checks := New(Options{Binary: c.binary, KVM: anyKVM(t)}).CheckHost(t.Context())
		if len(checks) != 2 || checks[0].Status != c.want || !strings.Contains(checks[0].Detail, c.says) {
			t.Errorf("%s: %+v, want %s and %q", name, checks, c.want, c.says)
		}
	}
	if checks := New(Options{Binary: filepath.Join(t.TempDir(), "absent")}).CheckHost(t.Context()); len(checks) != 0 {
		t.Errorf("it is not installed: %+v", checks)
	}
}
