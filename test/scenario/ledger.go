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
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cleanUp deletes what the script's daemon still has, stops the daemon, and fails the test for anything left over.
func cleanUp(tb testing.TB, h Host, env *testscript.Env, dir string) {
	for _, bg := range env.Values[backgroundKey{}].(backgrounds) {
		bg.stop()
	}
	if exists(env.Getenv("STATE")) {
		if err := deleteAll(h, env.Getenv("STATE"), env.Vars); err != nil {
			tb.Errorf("cannot clean up: %v\n%s", err, lastLines(filepath.Join(env.Getenv("STATE"), "bangerd.log")))
		}
	}
	vars := env.Vars
	for variable, name := range map[string]string{"XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache"} {
		// By convention these are the homes of a script that has its own.
		if own := filepath.Join(dir, name); exists(filepath.Join(own, "banger")) {
			vars = append(vars, variable+"="+own)
		}
	}
	for _, state := range installations(dir) {
		if err := settle(tb, h, append(vars, "XDG_STATE_HOME="+filepath.Dir(state))); err != nil {
			tb.Errorf("cannot tell what is left of %s: %v", state, err)
		}
	}
}

// exitLimit is how long a process may take that is about to end: netd, without a VM and a daemon, or a VMM.
const exitLimit = 30 * time.Second

// settle has an installation's leaks told. A process among them may be about to end; what is left after that is a failure.
func settle(tb testing.TB, h Host, vars []string) error {
	found, err := leaks(h, vars)
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
		found, err = leaks(h, vars)
	}
	for _, l := range found {
		tb.Errorf("left behind: %+v", l)
	}
	return err
}

// leak is what the command tells of one.
type leak struct{ Kind, What, Why string }

// leaks asks the command.
func leaks(h Host, vars []string) ([]leak, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout())
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(h.Bin, "banger"), "doctor", "--leaks", "--format", "json")
	cmd.Env = vars
	out, err := cmd.Output()
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

func deleteAll(h Host, state string, vars []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patient(3*time.Minute))
	defer cancel()
	banger := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(h.Bin, "banger"), args...)
		cmd.Env = vars
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
