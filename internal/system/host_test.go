package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"banger/internal/helper/storage"
	"banger/internal/version"
)

// pretended is a host in a directory, with a systemd that does nothing but remember.
type pretended struct {
	t    *testing.T
	root string
	env  map[string]string
	uid  int

	calls    []string
	fail     string // a call of systemctl that fails, from its beginning
	version  string // that the services answer with
	deaf     error
	foreign  []storage.Foreign
	released []storage.Foreign
	taps     int // with a VMM
	jails    int // likewise
	unjailed int // how often they were taken away
	networks int // how often they were taken away
	udev     int // how often it was told to read its rules
}

func newHost(t *testing.T) *pretended {
	t.Helper()
	h := &pretended{t: t, root: t.TempDir(), env: map[string]string{"SUDO_UID": "1000"}, version: version.Version}
	for _, dir := range []string{"usr/local/lib", "etc/systemd/system", "run/systemd/system", "etc/udev/rules.d"} {
		if err := os.MkdirAll(filepath.Join(h.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write("built/banger-helper", "a program", 0o755)
	h.write(storage.UdevControl, "", 0o600)
	return h
}

func (h *pretended) write(name, text string, mode fs.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *pretended) system() *System {
	return With(Options{
		Root: h.root, UID: h.uid, Getenv: func(name string) string { return h.env[name] },
		Systemctl: func(_ context.Context, args ...string) (string, error) {
			call := strings.Join(args, " ")
			h.calls = append(h.calls, call)
			if h.fail != "" && strings.HasPrefix(call, h.fail) {
				return "", errors.New("it would not " + call)
			}
			return "", nil
		},
		Program: func() (string, error) { return filepath.Join(h.root, "built/banger-helper"), nil },
		Hello:   func(context.Context, string) (string, error) { return h.version, h.deaf },
		Udev: func(context.Context) error {
			h.udev++
			return nil
		},
		Snapshots: h, Networks: networks{h}, Jails: jails{h},
		LookPath: func(name string) (string, error) {
			path := filepath.Join(h.root, "bin", name)
			if _, err := os.Stat(path); err != nil {
				return "", exec.ErrNotFound
			}
			return path, nil
		},
		Version: func(_ context.Context, path string) (string, error) {
			text, err := os.ReadFile(path)
			return string(text), err
		},
	})
}

// Foreign and Release are Snapshots'.
func (h *pretended) Foreign(context.Context) ([]storage.Foreign, error) { return h.foreign, nil }

func (h *pretended) Release(_ context.Context, f storage.Foreign) error {
	h.released = append(h.released, f)
	return nil
}

// networks are the pretended host's.
type networks struct{ h *pretended }

// InUse and Release are Made's.
func (n networks) InUse(context.Context) (int, error) { return n.h.taps, nil }

func (n networks) Release(context.Context) error {
	n.h.networks++
	return nil
}

// jails are the pretended host's.
type jails struct{ h *pretended }

// InUse and Release are Made's.
func (j jails) InUse(context.Context) (int, error) { return j.h.jails, nil }

func (j jails) Release(context.Context) error {
	j.h.unjailed++
	return nil
}

// files are all there are, with their modes and what is in them.
func (h *pretended) files() map[string]string {
	h.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(h.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := ""
		if e.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		}
		found[strings.TrimPrefix(path, h.root)] = fmt.Sprintf("%v %s", info.Mode(), text)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// added are the names of files that are there now and were not before.
func (h *pretended) added(before map[string]string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(h.files())) {
		if _, there := before[name]; !there {
			names = append(names, name)
		}
	}
	return names
}
