package daemon_test

import (
	"banger/client"
	"banger/internal/daemon"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
	"banger/internal/rootdisk"
	"banger/internal/rootdisk/qcow2"
	"banger/internal/testenv"
	"banger/internal/version"
	"banger/internal/vmm"
	"banger/internal/vmm/vmmtest"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// everything is what lies below the installation's directory: names, modes, owners, sizes, times and contents.
func (h *host) everything() string {
	h.t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(h.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&all, path, info.Mode(), info.Sys().(*syscall.Stat_t).Uid, info.Size(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			fmt.Fprintf(&all, "  %x\n", sha256.Sum256(data))
			return err
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all.String()
}

// doctor has the host looked at, and requires that this changes nothing.
func (h *host) doctor() model.Diagnosis {
	h.t.Helper()
	before := h.everything()
	d := daemon.Doctor(h.t.Context(), daemon.DoctorConfig{
		Dirs: h.dirs, Client: version.Version, Leaks: true, Verify: true, Progress: func(string) {},
		Drivers: func(o daemon.Host) daemon.Drivers {
			if !o.ReadOnly {
				h.t.Error("the drivers may keep what they find")
			}
			return daemon.Drivers{
				VMMs:      []vmm.Driver{vmmtest.NewFake(vmmtest.FakeOptions{})},
				RootDisks: []rootdisk.Driver{qcow2.New(qcow2.Options{VMs: h.dirs.VMs(), Log: o.Log})},
				Networks:  []network.Driver{networktest.NewFake(h.root+"/network", nil)},
			}
		},
	})
	if after := h.everything(); after != before {
		h.t.Errorf("looking changed the directory from\n%s\nto\n%s", before, after)
	}
	return d
}

// checked requires the status of one check, and nothing worse of the others that are this installation's.
func (h *host) checked(d model.Diagnosis, name string, want model.CheckStatus, says string) {
	h.t.Helper()
	for _, c := range d.Checks {
		switch {
		case c.Name == name && (c.Status != want || !strings.Contains(c.Detail, says)):
			h.t.Errorf("%+v, want %s and %q", c, want, says)
		case c.Name != name && c.Name != "leaks" && c.Status == model.CheckProblem:
			h.t.Errorf("%+v, too", c)
		}
		if c.Name == name {
			want = ""
		}
	}
	if want != "" {
		h.t.Errorf("there is no check %s: %+v", name, d.Checks)
	}
}

// box makes a VM and returns its id.
func (h *host) box() string {
	h.t.Helper()
	op, err := h.dial().Create(h.t.Context(), client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes, Start: true})
	var made client.Result
	if err == nil {
		made, err = op.Wait(func(client.Event) {})
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return made.VM.ID
}

func TestDoctorInEveryPhaseOfADaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.checked(h.doctor(), "database", model.CheckOK, "none yet")

	first := h.start()
	id := h.box()
	h.checked(h.doctor(), "database", model.CheckOK, "has 1 VMs")
	if d := h.doctor(); len(d.Leaks) > 0 || !d.Able() || d.Version != version.Version {
		t.Errorf("beside a daemon: %+v", d)
	}

	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed
	d := h.doctor()
	h.checked(d, "database", model.CheckOK, "has 1 VMs")
	if len(d.Leaks) != 1 || d.Leaks[0].What != h.dirs.Socket() {
		t.Errorf("after the daemon was killed: %v", d.Leaks)
	}

	second := h.start()
	planted := filepath.Join(h.dirs.VM("cccccccccccccccc"), "root.qcow2")
	if err := os.MkdirAll(filepath.Dir(planted), 0o700); err != nil {
		t.Fatal(err)
	}
	if d := h.doctor(); len(d.Leaks) != 1 || d.Leaks[0].What != filepath.Dir(planted) || !d.Able() {
		t.Errorf("with a planted directory: %+v", d)
	}
	if err := os.RemoveAll(filepath.Dir(planted)); err != nil {
		t.Fatal(err)
	}
	c := h.dial()
	op, err := c.Delete(t.Context(), id)
	if err == nil {
		_, err = op.Wait(func(client.Event) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	h.stop(second)
	d = h.doctor()
	h.checked(d, "database", model.CheckOK, "has 0 VMs")
	if len(d.Leaks) > 0 {
		t.Errorf("at the end: %v", d.Leaks)
	}
}

func TestDoctorWhereNoDaemonCanStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(h *host) error
		check  string
		status model.CheckStatus
		says   string
		blind  bool // nothing can be said of leaks
	}{
		"a database that is no more one": {func(h *host) error {
			return os.WriteFile(h.dirs.Database(), []byte(strings.Repeat("rubbish", 4096)), 0o600)
		}, "database", model.CheckProblem, "damaged", true},
		"an empty database":       {func(h *host) error { return os.Truncate(h.dirs.Database(), 0) }, "database", model.CheckProblem, "is empty", true},
		"an open state directory": {func(h *host) error { return os.Chmod(h.dirs.State, 0o755) }, "state", model.CheckProblem, "lets other users in", true},
		"a foreign state directory": {func(h *host) error {
			testenv.NeedRoot(h.t)
			return os.Chown(h.dirs.State, 12345, 12345)
		}, "state", model.CheckProblem, "belongs to uid 12345", true},
		"a state directory that is a link": {func(h *host) error {
			if err := os.Rename(h.dirs.State, h.root+"/real"); err != nil {
				return err
			}
			return os.Symlink(h.root+"/real", h.dirs.State)
		}, "state", model.CheckProblem, "symbolic link", true},
		"a misspelt configuration": {func(h *host) error {
			if err := os.MkdirAll(h.dirs.Config, 0o700); err != nil {
				return err
			}
			return os.WriteFile(h.dirs.ConfigFile(), []byte("vcpu = 1\n"), 0o600)
		}, "config", model.CheckProblem, `line 1: there is no key "vcpu"`, false},
		"an image of other bytes": {func(h *host) error {
			paths, err := filepath.Glob(filepath.Join(h.dirs.Images(), "*", "root.ext4"))
			if err != nil || len(paths) != 1 {
				return fmt.Errorf("%v, %w", paths, err)
			}
			if err := os.Chmod(paths[0], 0o600); err != nil {
				return err
			}
			return os.WriteFile(paths[0], make([]byte, 64<<10), 0o600)
		}, "images", model.CheckProblem, "has changed", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.stop(h.start())
			if err := c.spoil(h); err != nil {
				t.Fatal(err)
			}
			d := h.doctor()
			h.checked(d, c.check, c.status, c.says)
			if d.Able() {
				t.Error("it is no problem")
			}
			blind := false
			for _, check := range d.Checks {
				blind = blind || check.Name == "leaks"
			}
			if blind != c.blind || d.Leaks == nil {
				t.Errorf("said that nothing can be said of leaks: %v; and they are %v", blind, d.Leaks)
			}
		})
	}
}
