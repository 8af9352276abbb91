package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Patience is the environment variable with the factor by which all limits of time grow on a slow machine.
const Patience = "BANGER_SCENARIO_PATIENCE"

func patient(limit time.Duration) time.Duration {
	if factor, err := strconv.Atoi(os.Getenv(Patience)); err == nil && factor > 1 {
		return time.Duration(factor) * limit
	}
	return limit
}

// Trace is the environment variable that has each command told of as it begins, and how long it took: on a machine on
// which all is slow, somebody looks on.
const Trace = "BANGER_SCENARIO_TRACE"

type scriptCommand = func(ts *testscript.TestScript, neg bool, args []string)

// traced tells of a command.
func traced(name string, do scriptCommand) scriptCommand {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		begin := time.Now()
		line := fmt.Sprintf("e2e: %s: %.150s", ts.Name(), strings.Join(append([]string{name}, args...), " "))
		fmt.Fprintln(os.Stderr, line)
		defer func() {
			if took := time.Since(begin); took > time.Second {
				fmt.Fprintf(os.Stderr, "%s: %.1f s\n", line, took.Seconds())
			}
		}()
		do(ts, neg, args)
	}
}

// Commands are what scripts can say beyond testscript's own commands.
func (h Host) Commands() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]scriptCommand{
		"alive":      cmdAlive,
		"announce":   cmdAnnounce,
		"background": cmdBackground,
		"capture":    cmdCapture,
		"daemonpid":  cmdDaemonPID,
		"eventually": cmdEventually,
		"exits":      cmdExits,
		"jsonfield":  cmdJSONField,
		"kill9":      cmdKill9,
		"netdpid":    cmdNetdPID,
		"owndata":    h.cmdOwnData,
		"parallel":   cmdParallel,
		"signal":     cmdSignal,
		"terminal":   cmdTerminal,
		"waitbg":     cmdWaitBackground,
		"waitfor":    cmdWaitFor,
		"waitgone":   cmdWaitGone,
	}
	if os.Getenv(Trace) != "" {
		for name, do := range all {
			all[name] = traced(name, do)
		}
	}
	return all
}

// Setup gives a script its own directories and arranges for what it leaves to be found.
func (h Host) Setup(env *testscript.Env) error {
	if err := h.SetupIn(env, env.WorkDir); err != nil {
		return err
	}
	h.CleanUpIn(env, env.WorkDir)
	return nil
}

// SetupIn gives a script directories below dir.
func (h Host) SetupIn(env *testscript.Env, dir string) error {
	home := filepath.Join(dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for key, value := range map[string]string{
		"HOME":            home,
		"XDG_STATE_HOME":  filepath.Join(dir, "state"),
		"XDG_CONFIG_HOME": filepath.Join(dir, "config"),
		"STATE":           filepath.Join(dir, "state", "banger"),
		"BIN":             h.Bin,
		"E2E":             self,
		"TERM":            "xterm",
	} {
		env.Setenv(key, value)
	}
	env.Vars = append(env.Vars, h.Env()...)
	env.Values[backgroundKey{}] = backgrounds{}
	return nil
}

// CleanUpIn arranges for what the script leaves, where SetupIn gave it dir, to be found and taken away.
func (h Host) CleanUpIn(env *testscript.Env, dir string) {
	tb := env.T().(testing.TB)
	env.Defer(func() { cleanUp(tb, h, env, dir) })
}

// Condition answers [root] and [unshare] in scripts; the last is whether a user and mount namespace can be had.
func Condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "unshare":
		return exec.Command("unshare", "--user", "--map-root-user", "--mount", "true").Run() == nil, nil
	}
	return false, fmt.Errorf("%q is no condition", name)
}
