//go:build e2e

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"banger/internal/image/imagetest"
)

func TestMain(m *testing.M) {
	if code, found := runRole(os.Args); found {
		os.Exit(code)
	}
	flag.Parse()
	os.Exit(runMain(m))
}

func runMain(m *testing.M) int {
	h, err := findHost()
	if err == nil {
		err = h.prepare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: cannot run the scenarios:", err)
		return 1
	}
	// The tests find what was prepared through the environment, as the scripts do.
	os.Setenv("BANGER_E2E_BIN", h.bin)
	os.Setenv("BANGER_E2E_SHARED", h.shared)
	return m.Run()
}

// prepared is the host that runMain made ready.
func prepared() host {
	return host{bin: os.Getenv("BANGER_E2E_BIN"), shared: os.Getenv("BANGER_E2E_SHARED")}
}

// TestKVM names, where the scenarios ran with software emulation, why the accelerated ones did not.
func TestKVM(t *testing.T) {
	h, state := prepared(), t.TempDir()
	if out, err := h.banger(t.Context(), state, "vm", "list").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := h.banger(t.Context(), state, "daemon", "status", "--format", "json").Output()
	if stopped := h.banger(t.Context(), state, "daemon", "stop").Run(); err != nil || stopped != nil {
		t.Fatal(err, stopped)
	}
	var status struct{ Accel, Slow string }
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	if status.Accel != "kvm" && status.Slow != "" {
		t.Skip("the scenarios ran without KVM: " + status.Slow)
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); status.Accel != "kvm" || err != nil {
		t.Errorf("accelerated by %q without a reason, and opening /dev/kvm: %v", status.Accel, err)
	} else {
		f.Close()
	}
}

func TestScripts(t *testing.T) {
	h, i := prepared(), newImages()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup:              h.setup,
		Condition:          condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"alive":       cmdAlive,
			"announce":    cmdAnnounce,
			"background":  cmdBackground,
			"capture":     cmdCapture,
			"daemonpid":   cmdDaemonPID,
			"eventually":  cmdEventually,
			"exits":       cmdExits,
			"jsonfield":   cmdJSONField,
			"kill9":       cmdKill9,
			"misbehave":   cmdMisbehave,
			"netdpid":     cmdNetdPID,
			"owndata":     h.cmdOwnData,
			"parallel":    cmdParallel,
			"push":        i.cmdPush,
			"registry":    cmdRegistry,
			"requests":    cmdRequests,
			"saveimage":   i.cmdSaveImage,
			"signal":      cmdSignal,
			"terminal":    cmdTerminal,
			"treelisting": cmdTreeListing,
			"waitbg":      cmdWaitBackground,
			"waitfor":     cmdWaitFor,
			"waitgone":    cmdWaitGone,
			"world":       cmdWorld,
		},
	})
}

// setup gives a script its own directories and arranges for what it leaves to be found.
func (h host) setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for key, value := range map[string]string{
		"HOME":            home,
		"XDG_STATE_HOME":  filepath.Join(env.WorkDir, "state"),
		"XDG_CONFIG_HOME": filepath.Join(env.WorkDir, "config"),
		"STATE":           filepath.Join(env.WorkDir, "state", "banger"),
		"BIN":             h.bin,
		"E2E":             self,
		"TERM":            "xterm",
	} {
		env.Setenv(key, value)
	}
	env.Vars = append(env.Vars, h.env()...)
	tb := env.T().(testing.TB)
	env.Values[backgroundKey{}] = backgrounds{}
	registry := new(*imagetest.Registry)
	env.Values[registryKey{}] = registry
	env.Defer(func() {
		cleanUp(tb, h, env)
		if *registry != nil {
			(*registry).Close()
		}
	})
	return nil
}

// condition answers [root], [kvm], [world] and [unshare] in scripts; the last is whether a user and mount namespace can be
// had.
func condition(name string) (bool, error) {
	switch name {
	case "world":
		return mayMakeWorlds(), nil
	case "root":
		return os.Geteuid() == 0, nil
	case "kvm":
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err == nil, nil
	case "unshare":
		return exec.Command("unshare", "--user", "--map-root-user", "--mount", "true").Run() == nil, nil
	}
	return false, fmt.Errorf("%q is no condition: root, kvm, world, unshare", name)
}
