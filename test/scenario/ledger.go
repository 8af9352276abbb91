package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cleanUp deletes what the script's daemon still has, stops the daemon, and fails the test for anything left over.
func cleanUp(tb testing.TB, h Host, env *testscript.Env, dir string) {
	for _, bg := range env.Values[backgroundKey{}].(backgrounds) {
		bg.stop()
	}
	found := installations(dir)
	for _, state := range found {
		b := bangerOf(h, dir, state, env.Vars)
		if state != env.Getenv("STATE") && b.owner == nil {
			continue // the script's own doing
		}
		if err := b.deleteAll(state); err != nil {
			tb.Errorf("cannot clean up: %v\n%s", err, lastLines(filepath.Join(state, "bangerd.log")))
		}
	}
	for _, state := range found {
		if err := settle(tb, bangerOf(h, dir, state, append(env.Vars, ownHomes(dir)...))); err != nil {
			tb.Errorf("cannot tell what is left of %s: %v", state, err)
		}
	}
}

// banger runs commands on what is in one state directory, as its owner.
type banger struct {
	program string
	vars    []string
	owner   *syscall.Credential // nil for this process's user
}

// bangerOf is that of a state directory below dir. One of another user's has that user's other homes beside it, by
// convention, and in dir's bin, where there is one, programs that everybody can run.
func bangerOf(h Host, dir, state string, vars []string) banger {
	home := filepath.Dir(state)
	b := banger{program: filepath.Join(h.Bin, "banger"), vars: append(slices.Clone(vars), "XDG_STATE_HOME="+home)}
	info, err := os.Stat(state)
	if err != nil {
		return b
	}
	if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != os.Geteuid() {
		b.owner = &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}
		b.vars = append(append(b.vars, "HOME="+filepath.Dir(home)), ownHomes(filepath.Dir(home))...)
		if own := filepath.Join(dir, "bin", "banger"); exists(own) {
			b.program = own
		}
	}
	return b
}

// ownHomes are the variables for homes that are in dir, if they are.
func ownHomes(dir string) (vars []string) {
	for variable, name := range map[string]string{"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config"} {
		if own := filepath.Join(dir, name); exists(filepath.Join(own, "banger")) {
			vars = append(vars, variable+"="+own)
		}
	}
	return vars
}

func (b banger) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Env = b.vars
	if b.owner != nil {
		cmd.Dir = "/" // ours may be closed to that user
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.owner}
	}
	return cmd
}

// exitLimit is how long a process may take that is about to end: netd, without a VM and a daemon, or a VMM.
const exitLimit = 30 * time.Second

// settle has an installation's leaks told. A process among them may be about to end; what is left after that is a failure.
func settle(tb testing.TB, b banger) error {
	found, err := b.leaks()
	for _, l := range found {
		pid, _ := strconv.Atoi(l.What)
		if l.Kind != "process" || pid <= 1 {
			continue
		}
		if p, err := openProcess(pid); err == nil && !p.waitGone(patient(exitLimit)) {
			tb.Errorf("left behind: %+v", l)
			p.kill()
		}
	}
	if err == nil && len(found) > 0 {
		found, err = b.leaks()
	}
	for _, l := range found {
		tb.Errorf("left behind: %+v", l)
	}
	return err
}

// leak is what the command tells of one.
type leak struct{ Kind, What, Why string }

// leaks asks the command.
func (b banger) leaks() ([]leak, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout())
	defer cancel()
	out, err := b.command(ctx, "doctor", "--leaks", "--format", "json").Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var diagnosis struct {
		Checks []struct{ Name, Detail string }
		Leaks  []leak
	}
	if err := json.Unmarshal(out, &diagnosis); err != nil {
		return nil, fmt.Errorf("banger doctor: %w", err)
	}
	for _, c := range diagnosis.Checks {
		if c.Name == "leaks" {
			return nil, errors.New(c.Detail)
		}
	}
	return diagnosis.Leaks, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// installations lists the state directories under dir in which a daemon has been.
func installations(dir string) []string {
	var found []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what cannot be read is nobody's state
		}
		if !e.IsDir() || e.Name() != "banger" {
			return nil
		}
		if !exists(filepath.Join(path, "instance")) {
			return nil // no daemon was there
		}
		found = append(found, path)
		return filepath.SkipDir
	})
	return found
}

func (b banger) deleteAll(state string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patient(3*time.Minute))
	defer cancel()
	banger := func(args ...string) ([]byte, error) {
		cmd := b.command(ctx, args...)
		var out, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("banger %s: %w: %s", strings.Join(args, " "), err, complaint.Bytes())
		}
		return out.Bytes(), nil
	}
	out, err := banger("vm", "list", "--format", "json")
	if err != nil {
		return err
	}
	var vms []struct{ ID string }
	if err := json.Unmarshal(out, &vms); err != nil {
		return fmt.Errorf("banger vm list: %w", err)
	}
	args := []string{"vm", "delete", "-f"}
	for _, vm := range vms {
		args = append(args, vm.ID)
	}
	if len(vms) > 0 {
		_, err = banger(args...)
	}
	// One whose client is gone may have been deleted by the daemon just before.
	if !slices.ContainsFunc(args[3:], func(id string) bool { return exists(filepath.Join(state, "vms", id)) }) {
		err = nil
	}
	_, stopErr := banger("daemon", "stop")
	return errors.Join(err, stopErr)
}

func lastLines(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}
