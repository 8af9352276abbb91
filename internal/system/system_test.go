package system

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/helper/storage"
	"banger/internal/model"
)

func install(t *testing.T, h *pretended) {
	t.Helper()
	if _, err := h.system().Install(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
}

func TestInstallWritesWhatNobodyElseCanChange(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	before := h.files()
	install(t, h)
	want := []string{
		"/etc/systemd/system/banger-network.service", "/etc/systemd/system/banger-network.socket",
		"/etc/systemd/system/banger-storage.service", "/etc/systemd/system/banger-storage.socket",
		storage.UdevFile,
		"/usr/local/lib/banger", "/usr/local/lib/banger/banger-helper",
	}
	if got := h.added(before); !slices.Equal(got, want) {
		t.Errorf("it wrote %q", got)
	}
	for name, what := range h.files() {
		if mode := what[:10]; slices.Contains(want, name) && (mode[5] == 'w' || mode[8] == 'w') {
			t.Errorf("%s has the mode %s", name, mode)
		}
	}
	if got := h.files()["/usr/local/lib/banger/banger-helper"]; got != "-rwxr-xr-x a program" {
		t.Errorf("the program is %q", got)
	}
	if got := h.files()[storage.UdevFile]; got != "-rw-r--r-- "+string(storage.UdevRules) || h.udev != 1 {
		t.Errorf("udev was told %d times: %q", h.udev, got)
	}
	calls := strings.Join(h.calls, "\n")
	if !strings.HasPrefix(calls, "daemon-reload\nenable --quiet banger-storage.socket banger-network.socket\n") || !strings.Contains(calls, "\nstart banger-storage.socket") {
		t.Errorf("systemd was told:\n%s", calls)
	}
	// An upgrade replaces the program and ends the old ones.
	h.write("built/banger-helper", "a newer program", 0o755)
	h.calls = nil
	install(t, h)
	if got := h.files()["/usr/local/lib/banger/banger-helper"]; got != "-rwxr-xr-x a newer program" {
		t.Errorf("the program is %q", got)
	}
	if !slices.Contains(h.calls, "stop banger-storage.service banger-storage.socket") {
		t.Errorf("the old one goes on: %q", h.calls)
	}
}

func TestInstallIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(h *pretended)
		owner  string
		kind   error
		says   string
	}{
		"to an ordinary user":    {func(h *pretended) { h.uid = 1000 }, "", model.ErrDenied, "run: sudo banger system install"},
		"without systemd":        {func(h *pretended) { _ = os.Remove(filepath.Join(h.root, "run/systemd/system")) }, "", model.ErrUnsupported, "not run by systemd"},
		"for nobody":             {func(h *pretended) { h.env = nil }, "", model.ErrInvalid, "--owner"},
		"for root":               {func(*pretended) {}, "0", model.ErrInvalid, "needs none"},
		"for root by its name":   {func(*pretended) {}, "root", model.ErrInvalid, "needs none"},
		"for what is no user":    {func(*pretended) {}, "no-such-user-here", model.ErrNotFound, "cannot find the user"},
		"for a negative number":  {func(*pretended) {}, "-1", model.ErrInvalid, "no user"},
		"for the number of none": {func(*pretended) {}, "4294967295", model.ErrInvalid, "no user"},
		"for a second user": {func(h *pretended) {
			h.write("etc/systemd/system/banger-storage.socket", "[Socket]\nSocketUser=1001\n", 0o644)
		}, "", model.ErrExists, "for uid 1001; run: sudo banger system uninstall"},
		"over what is not ours": {func(h *pretended) { h.write("etc/systemd/system/banger-storage.socket", "[Socket]\n", 0o644) }, "", model.ErrCorrupt, "cannot tell for whom"},
		"where all can write":   {func(h *pretended) { _ = os.Chmod(filepath.Join(h.root, "usr/local"), 0o777) }, "", model.ErrDenied, "others can change it"},
		"from a link": {func(h *pretended) {
			_ = os.Rename(filepath.Join(h.root, "built/banger-helper"), filepath.Join(h.root, "x"))
			_ = os.Symlink(filepath.Join(h.root, "x"), filepath.Join(h.root, "built/banger-helper"))
		}, "", model.ErrUnavailable, "symbolic links"},
		"when systemd will not":   {func(h *pretended) { h.fail = "start" }, "", model.ErrUnavailable, "it would not start"},
		"when it does not answer": {func(h *pretended) { h.deaf = model.Errorf(model.ErrTimeout, "no answer") }, "", model.ErrTimeout, "journalctl"},
		"when another answers":    {func(h *pretended) { h.version = "v0" }, "", model.ErrUnavailable, "version v0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			c.change(h)
			if _, err := h.system().Install(t.Context(), c.owner, ""); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "cannot ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestUninstallLeavesNothing also where an install has ended in the middle.
func TestUninstallLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, fail := range []string{"", "daemon-reload", "enable", "stop", "start banger-storage", "start banger-network"} {
		h := newHost(t)
		before := h.files()
		h.fail = fail
		if _, err := h.system().Install(t.Context(), "", ""); (err == nil) != (fail == "") {
			t.Fatalf("failing %q: %v", fail, err)
		}
		h.fail = ""
		h.write("run/banger/storage.sock", "", 0o600) // as systemd has made it
		h.write("etc/systemd/system/.banger-storage.socket.123.tmp", "", 0o600)
		left := storage.Foreign{ID: "aaaaaaaaaaaaaaaa"}
		h.foreign = []storage.Foreign{left}
		for range 2 {
			if err := h.system().Uninstall(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		}
		if after := h.files(); !maps.Equal(before, after) {
			t.Errorf("failing %q: left %q", fail, h.added(before))
		}
		if len(h.released) == 0 || h.released[0] != left || h.networks != 2 {
			t.Errorf("a device is left: %+v, networks taken away %d times", h.released, h.networks)
		}
		if !slices.Contains(h.calls, "disable --now --quiet banger-storage.socket") || h.calls[len(h.calls)-3] != "daemon-reload" {
			t.Errorf("systemd was told %q", h.calls)
		}
	}
}

func TestUninstallTakesNoDeviceFromAVMThatRuns(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	install(t, h)
	installed := h.files()
	h.foreign = []storage.Foreign{{ID: "aaaaaaaaaaaaaaaa"}, {ID: "bbbbbbbbbbbbbbbb"}}
	h.calls = nil
	for disks, taps := range []int{1, 0} {
		h.foreign[0].InUse, h.taps = disks > 0, taps
		err := h.system().Uninstall(t.Context(), false)
		says := fmt.Sprintf("have %d disks and %d network devices", disks, taps)
		if !errors.Is(err, model.ErrState) || !strings.Contains(err.Error(), says) || !strings.HasSuffix(err.Error(), "run: sudo banger system uninstall --purge") {
			t.Errorf("got %v, want %s", err, says)
		}
		if after := h.files(); !maps.Equal(installed, after) || len(h.calls) > 0 || len(h.released)+h.networks > 0 {
			t.Errorf("something was changed: %q, %+v, %d", h.calls, h.released, h.networks)
		}
	}
	if err := h.system().Uninstall(t.Context(), true); err != nil || len(h.released) != 2 || h.networks != 1 {
		t.Errorf("purged: %v, %+v, %d", err, h.released, h.networks)
	}
}

// TestUninstallGoesOn has one step fail; the others are done all the same.
func TestUninstallGoesOn(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	before := h.files()
	install(t, h)
	h.fail = "disable"
	if err := h.system().Uninstall(t.Context(), false); err == nil || !strings.Contains(err.Error(), "it would not disable") {
		t.Errorf("got %v", err)
	}
	if after := h.files(); !maps.Equal(before, after) {
		t.Errorf("left %q", h.added(before))
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	if err := h.system().Restart(t.Context()); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
	install(t, h)
	h.calls = nil
	if err := h.system().Restart(t.Context()); err != nil {
		t.Error(err)
	}
	if i, j := slices.Index(h.calls, "stop banger-storage.service banger-storage.socket"), slices.Index(h.calls, "start banger-storage.socket"); i < 0 || j < i {
		t.Errorf("systemd was told %q", h.calls)
	}
	h.uid = 1000
	if err := h.system().Restart(t.Context()); !errors.Is(err, model.ErrDenied) {
		t.Errorf("by an ordinary user: %v", err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	look := func() Status {
		t.Helper()
		st, err := h.system().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := look(); st.Installed || st.Owner != nil || st.OK() {
		t.Errorf("of nothing: %+v", st)
	}
	install(t, h)
	if st := look(); !st.OK() || *st.Owner != 1000 || len(st.Services) != 2 || st.Services[0].Version == "" {
		t.Errorf("installed: %+v", st)
	}
	h.version = "v0"
	if st := look(); st.OK() || st.Services[0].Fix != "sudo banger system install" {
		t.Errorf("of another version: %+v", st)
	}
	h.deaf = model.Errorf(model.ErrUnsupported, "nobody listens")
	if st := look(); st.OK() || st.Services[0].Fix != "sudo banger system restart" {
		t.Errorf("deaf: %+v", st)
	}
	h.uid, h.deaf = 1001, nil
	if st := look(); st.OK() || st.Services[0].Version != "" || *st.Owner != 1000 {
		t.Errorf("asked by somebody else: %+v", st)
	}
	h.uid = 0
	if err := os.Remove(filepath.Join(h.root, "etc/systemd/system/banger-network.socket")); err != nil {
		t.Fatal(err)
	}
	if st := look(); st.OK() || st.Installed {
		t.Errorf("half: %+v", st)
	}
}
