//go:build crash

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
	"syscall"
	"testing"

	"banger/internal/atomicfile"
	"banger/internal/crash/crashtest"
	"banger/internal/helper/storage"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/testenv"
	"banger/internal/version"
)

// rootVariable is the directory of the host on which the test program, run again as what is killed, installs and uninstalls.
const rootVariable = "BANGER_TEST_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(rootVariable); root != "" {
		syscall.Umask(0o077) // that of a careful administrator
		h := lasting{&pretended{root: root, env: map[string]string{"SUDO_UID": "1000"}, version: version.Version}}
		_, err := h.system().Install(context.Background(), "", "")
		if err = errors.Join(err, h.system().Uninstall(context.Background(), false)); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKilledAtAnyPoint requires that who installs next has what he would have had, and that who uninstalls leaves nothing,
// each time that a point is reached.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	plain := newLasting(t)
	before := plain.files()
	plain.makes()
	plain.install()
	want := plain.files()
	for _, point := range crashtest.Points(t, "system.") {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			var again lasting
			run := func(at string) (*exec.Cmd, []byte) {
				again = newLasting(t)
				return again.run(at)
			}
			crashtest.EachTime(t, point, run, func(at string) {
				again.makes()
				again.install()
				if got := again.files(); !maps.Equal(got, want) {
					t.Errorf("%s: installed again: more are %q, others are %q", at, again.added(want), changed(want, got))
				}
				again.uninstall(before)
				away := newLasting(t)
				if cmd, out := away.run(at); !testenv.Killed(cmd) {
					t.Errorf("%s: it was not killed there: %v, %s", at, cmd.ProcessState, out)
				}
				away.uninstall(before)
			})
		})
	}
}

// changed are the files that are gone, or other than they were.
func changed(before, after map[string]string) []string {
	var all []string
	for name, was := range before {
		if after[name] != was {
			all = append(all, fmt.Sprintf("%s: %.40s", name, after[name]))
		}
	}
	return all
}

// lasting is a host in a directory, in which there is also what its systemd and its udev know, and what the helper has made.
type lasting struct{ *pretended }

// Where that is.
const (
	wanted = "etc/systemd/system/sockets.target.wants" // the sockets that are enabled
	known  = "run/known"                               // the units and rules that were read
	made   = "made"                                    // by the helper
)

func newLasting(t *testing.T) lasting {
	t.Helper()
	h := lasting{newHost(t)}
	h.write("bin/firecracker", "Firecracker v1.16.1", 0o755)
	h.write("bin/jailer", "Jailer v1.16.1", 0o755)
	for _, dir := range []string{wanted, known, made} {
		h.write(dir+"/other", "", 0o644)
	}
	return h
}

func (h lasting) system() *System {
	o := h.pretended.system().o
	o.Systemctl, o.Udev = h.systemctl, h.look
	o.Snapshots, o.Networks, o.Jails = snapshots{h}, kind{h, "network"}, kind{h, "jail"}
	return With(o)
}

// run has one install and uninstall what has made something meanwhile, to be killed at a point.
func (h lasting) run(point string) (cmd *exec.Cmd, out []byte) {
	h.makes()
	cmd = crashtest.Again(point, rootVariable+"="+h.root)
	out, _ = cmd.CombinedOutput()
	return cmd, out
}

// makes has the helper have made something of each kind.
func (h lasting) makes() {
	for _, name := range []string{"snapshot-aaaaaaaaaaaaaaaa", "snapshot-bbbbbbbbbbbbbbbb", "network", "jail"} {
		h.write(filepath.Join(made, name), "", 0o600)
	}
}

func (h lasting) install() {
	h.t.Helper()
	if _, err := h.system().Install(h.t.Context(), "", ""); err != nil {
		h.t.Error(err)
	}
}

// uninstall requires that the host is then as it was before.
func (h lasting) uninstall(before map[string]string) {
	h.t.Helper()
	if err := h.system().Uninstall(h.t.Context(), false); err != nil {
		h.t.Error(err)
	}
	if err := h.look(h.t.Context()); err != nil { // as udev does by itself
		h.t.Error(err)
	}
	if after := h.files(); !maps.Equal(before, after) {
		h.t.Errorf("left %q; others are %q", h.added(before), changed(before, after))
	}
}

// systemctl does as systemd does, which knows no unit without a file.
func (h lasting) systemctl(_ context.Context, args ...string) (string, error) {
	verb, names := args[0], slices.DeleteFunc(args[1:], func(a string) bool { return strings.HasPrefix(a, "--") })
	if verb == "daemon-reload" {
		return "", h.read(unitDir, "banger-*")
	}
	var errs []error
	for _, name := range names {
		path := filepath.Join(h.root, unitDir, name)
		if _, err := os.Lstat(path); err != nil {
			errs = append(errs, err)
			continue
		}
		service, isSocket := strings.CutSuffix(strings.TrimPrefix(name, "banger-"), ".socket")
		socket, link := filepath.Join(h.root, wire.Socket(service)), filepath.Join(h.root, wanted, name)
		switch {
		case verb == "enable":
			if err := os.Symlink(path, link); !errors.Is(err, fs.ErrExist) {
				errs = append(errs, err)
			}
		case verb == "start":
			err := os.Mkdir(filepath.Dir(socket), 0o755)
			if err == nil || errors.Is(err, fs.ErrExist) {
				err = errors.Join(os.Chmod(filepath.Dir(socket), 0o755), os.WriteFile(socket, nil, 0o600))
			}
			errs = append(errs, err)
		case verb == "disable":
			errs = append(errs, atomicfile.Remove(link), atomicfile.Remove(socket))
		case verb == "stop" && isSocket:
			errs = append(errs, atomicfile.Remove(socket))
		}
	}
	return "", errors.Join(errs...)
}

// look has udev read its rules.
func (h lasting) look(context.Context) error {
	return h.read(filepath.Dir(storage.UdevFile), "*banger*.rules")
}

// read has the files of a directory that a pattern matches be what is known of it.
func (h lasting) read(dir, pattern string) error {
	stale, serr := filepath.Glob(filepath.Join(h.root, known, pattern))
	fresh, ferr := filepath.Glob(filepath.Join(h.root, dir, pattern))
	errs := []error{serr, ferr}
	for _, path := range stale {
		errs = append(errs, os.Remove(path))
	}
	for _, path := range fresh {
		errs = append(errs, os.WriteFile(filepath.Join(h.root, known, filepath.Base(path)), nil, 0o600))
	}
	return errors.Join(errs...)
}

// snapshots are those that the helper has made.
type snapshots struct{ h lasting }

// Foreign and Release are Snapshots'.
func (s snapshots) Foreign(context.Context) (all []storage.Foreign, err error) {
	found, err := filepath.Glob(filepath.Join(s.h.root, made, "snapshot-*"))
	for _, path := range found {
		all = append(all, storage.Foreign{ID: model.VMID(strings.TrimPrefix(filepath.Base(path), "snapshot-"))})
	}
	return all, err
}

func (s snapshots) Release(_ context.Context, f storage.Foreign) error {
	return os.Remove(filepath.Join(s.h.root, made, "snapshot-"+string(f.ID)))
}

// kind is one of what else the helper has made.
type kind struct {
	h    lasting
	name string
}

// InUse and Release are Made's.
func (kind) InUse(context.Context) (int, error) { return 0, nil }

func (k kind) Release(context.Context) error {
	return atomicfile.Remove(filepath.Join(k.h.root, made, k.name))
}
