package doctor_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"banger/internal/dirs"
	"banger/internal/doctor"
	"banger/internal/model"
	"banger/internal/testenv"
	"banger/internal/version"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// strayVariable makes this program one that does nothing until its standard input ends.
const strayVariable = "BANGER_TEST_STRAY"

func TestMain(m *testing.M) {
	if os.Getenv(strayVariable) != "" {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// one returns the check of that name.
func one(t *testing.T, checks []model.Check, name string) model.Check {
	t.Helper()
	i := slices.IndexFunc(checks, func(c model.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("%s is not among %+v", name, checks)
	}
	return checks[i]
}

func TestHost(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]model.CheckStatus{1: model.CheckOK, model.TiB * 1000: model.CheckWarning} {
		checks := doctor.Host(memory)
		if c := one(t, checks, "host"); c.Status != model.CheckOK || !strings.Contains(c.Detail, "Linux ") {
			t.Errorf("%+v", c)
		}
		if c := one(t, checks, "memory"); c.Status != want {
			t.Errorf("a VM of %d bytes: %+v, want %s", memory, c, want)
		}
	}
}

func TestDirectories(t *testing.T) {
	t.Parallel()
	fresh := func() dirs.Dirs {
		root := t.TempDir()
		return dirs.Dirs{State: root + "/a/state", Data: root + "/data", Cache: root + "/cache", Config: root + "/config"}
	}
	d := fresh()
	for _, c := range doctor.Directories(d) {
		if c.Status != model.CheckOK || !strings.Contains(c.Detail, "first command makes") {
			t.Errorf("nothing is there yet: %+v", c)
		}
	}
	if _, err := os.Lstat(filepath.Dir(d.State)); err == nil {
		t.Error("looking made a directory")
	}
	if err := d.Secure(); err != nil {
		t.Fatal(err)
	}
	for _, c := range doctor.Directories(d) {
		if c.Status != model.CheckOK || !strings.Contains(c.Detail, "free") || strings.Contains(c.Detail, "makes") {
			t.Errorf("all is there: %+v", c)
		}
	}
	for name, spoil := range map[string]func(dirs.Dirs) error{
		"state": func(d dirs.Dirs) error { return os.Chmod(d.State, 0o755) },
		"data":  func(d dirs.Dirs) error { return os.Chmod(d.Data, 0o777) },
		"cache": func(d dirs.Dirs) error {
			return errors.Join(os.RemoveAll(d.Cache), os.WriteFile(d.Cache, nil, 0o600))
		},
	} {
		d := fresh()
		if err := errors.Join(d.Secure(), spoil(d)); err != nil {
			t.Fatal(err)
		}
		if c := one(t, doctor.Directories(d), name); c.Status != model.CheckProblem || name != "cache" && !strings.HasPrefix(c.Fix, "chmod 700 ") {
			t.Errorf("%s: %+v", name, c)
		}
	}
	below := fresh()
	if err := os.WriteFile(filepath.Dir(below.State), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := one(t, doctor.Directories(below), "state"); c.Status != model.CheckProblem {
		t.Errorf("it cannot be made: %+v", c)
	}
}

func TestDirectoriesOfAFullDisk(t *testing.T) {
	t.Parallel()
	root := testenv.SmallDisk(t, 8<<20)
	for _, c := range doctor.Directories(dirs.Dirs{State: root + "/state", Data: root + "/data", Cache: root + "/cache"}) {
		if c.Status != model.CheckProblem || c.Fix != "banger image prune" {
			t.Errorf("with 8 MiB free: %+v", c)
		}
	}
	if err := os.MkdirAll(root+"/data/images/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if c := one(t, doctor.Directories(dirs.Dirs{State: root + "/state", Data: root + "/data", Cache: root + "/cache"}), "data"); c.Status != model.CheckWarning {
		t.Errorf("there are images, and no room is needed: %+v", c)
	}
}

func TestChoice(t *testing.T) {
	t.Parallel()
	testenv.NeedTool(t, "mke2fs")
	fast := vm.Choice{VMM: "fast", RootDisk: "thin", Network: "wire", Features: vmm.Features{Version: "1.2", Accel: "kvm"}, Passed: []string{"Better is not installed"}}
	checks := doctor.Choice(fast, nil)
	if c := one(t, checks, "vmm"); c.Status != model.CheckOK || c.Detail != "fast 1.2, with kvm, on the network wire; Better is not installed" {
		t.Errorf("%+v", c)
	}
	if c := one(t, checks, "kvm"); c.Status != model.CheckOK {
		t.Errorf("%+v", c)
	}
	if c := one(t, checks, "disks"); c.Status != model.CheckOK || !strings.Contains(c.Detail, "thin") {
		t.Errorf("%+v", c)
	}
	slow := vm.Choice{VMM: "slow", Features: vmm.Features{Version: "3", Accel: "tcg", Slow: "KVM is closed", Fix: "open it"}}
	if c := one(t, doctor.Choice(slow, nil), "kvm"); c != (model.Check{Name: "kvm", Status: model.CheckWarning, Detail: "KVM is closed", Fix: "open it"}) {
		t.Errorf("%+v", c)
	}
	if c := one(t, doctor.Choice(vm.Choice{Features: vmm.Features{Accel: "none"}}, nil), "kvm"); c.Status != model.CheckOK || c.Detail != "it is not used" {
		t.Errorf("%+v", c)
	}
	none := doctor.Choice(vm.Choice{}, model.Fixable(model.ErrUnsupported, "get it", "nothing runs"))
	if c := one(t, none, "vmm"); c != (model.Check{Name: "vmm", Status: model.CheckProblem, Detail: "nothing runs", Fix: "get it"}) {
		t.Errorf("%+v", c)
	}
	if c := one(t, none, "disks"); c.Status != model.CheckOK {
		t.Errorf("%+v", c)
	}
}

func TestPrograms(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	install := func(name, says string) {
		path := filepath.Join(filepath.Dir(self), name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+says+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path) })
	}
	install("test-same", "echo "+version.Version)
	install("test-old", "echo v0.0.1")
	install("test-broken", "exit 1")
	for _, test := range []struct {
		client, program string
		status          model.CheckStatus
		says            string
	}{
		{version.Version, "test-same", model.CheckOK, "banger, test-same"},
		{"", "test-same", model.CheckOK, "bangerd, test-same"},
		{"v9", "test-same", model.CheckWarning, "banger is v9"},
		{version.Version, "test-old", model.CheckWarning, "test-old is v0.0.1"},
		{version.Version, "test-broken", model.CheckProblem, "test-broken"},
		{version.Version, "test-missing", model.CheckProblem, "cannot find test-missing"},
	} {
		if c := doctor.Programs(t.Context(), test.client, test.program); c.Status != test.status || !strings.Contains(c.Detail, test.says) {
			t.Errorf("%q, %s: %+v", test.client, test.program, c)
		}
	}
}

func TestNamespacesAreTried(t *testing.T) {
	t.Parallel()
	c := doctor.Namespaces()
	works := exec.Command("unshare", "--user", "--map-root-user", "--mount", "--net", "true").Run() == nil
	if (c.Status == model.CheckOK) != works || c.Status == model.CheckProblem {
		t.Errorf("%+v, and unshare works: %v", c, works)
	}
}

func TestPrivileges(t *testing.T) {
	t.Parallel()
	if c := doctor.Privileges(); (c.Status == model.CheckWarning) != (os.Geteuid() == 0) {
		t.Errorf("uid %d: %+v", os.Geteuid(), c)
	}
}

type checker []model.Check

func (c checker) CheckHost(context.Context) []model.Check { return c }

func TestDriversAreAsked(t *testing.T) {
	t.Parallel()
	got := doctor.Drivers(t.Context(), "silent", checker{{Name: "a"}}, checker{}, checker{{Name: "b"}, {Name: "c"}})
	if len(got) != 3 || got[0].Name != "a" || got[2].Name != "c" {
		t.Errorf("%+v", got)
	}
}

func TestASecondDaemonIsNamed(t *testing.T) {
	t.Parallel()
	d, vms := installation(t)
	stray := func(state string, args ...string) int {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = []string{strayVariable + "=1", "HOME=/", "XDG_STATE_HOME=" + state}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		return cmd.Process.Pid
	}
	d.State = filepath.Join(filepath.Dir(d.State), "banger")
	if err := os.Rename(filepath.Join(filepath.Dir(d.State), "state"), d.State); err != nil {
		t.Fatal(err)
	}
	stray(t.TempDir())                     // another installation's
	stray(filepath.Dir(d.State), "doctor") // one that looks, as this
	if found := leaks(t, d, vms); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	pid := stray(filepath.Dir(d.State))
	if found := leaks(t, d, vms); len(found) != 1 || !named(found, "process", strconv.Itoa(pid)) {
		t.Errorf("found %v, and not process %d alone", found, pid)
	}
}
