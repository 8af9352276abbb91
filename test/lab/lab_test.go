//go:build lab

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"banger/test/lab/wire"
	"banger/test/scenario"
)

// TestScripts runs in the lab only: its scripts load modules and make devices.
func TestScripts(t *testing.T) {
	if _, err := os.Stat(os.Getenv("LAB_RESULTS")); err != nil {
		t.Fatal("these scenarios are for the lab: make test-lab")
	}
	h, err := scenario.FindHost()
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			if err := setup(h, env); err != nil {
				return err
			}
			env.Setenv("LAB_RESULTS", os.Getenv("LAB_RESULTS"))
			env.Setenv("LIB", filepath.Join(wire.Payload, "testdata", "lib"))
			env.Setenv("NEXT", filepath.Join(wire.Payload, "next"))
			env.Setenv("UPLOADS", "2") // each takes half a minute here
			return oneProcessor(env.Getenv("XDG_CONFIG_HOME"))
		},
		Condition: condition,
		Cmds:      h.Commands(),
	})
}

// setup gives a script that goes on after a reboot, or is what goes on, directories that survive it.
func setup(h scenario.Host, env *testscript.Env) error {
	dir := os.Getenv("LAB_KEPT")
	if dir == "" {
		return h.Setup(env)
	}
	env.Setenv("KEPT", dir)
	if err := errors.Join(os.MkdirAll(dir, 0o700), h.SetupIn(env, dir)); err != nil {
		return err
	}
	if os.Getenv("LAB_GOES_ON") == "" {
		h.CleanUpIn(env, dir)
	}
	return nil
}

// oneProcessor makes one the default: the lab has no more, and two of a guest's would wait for each other on it.
func oneProcessor(config string) error {
	dir := filepath.Join(config, "banger")
	return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "config.toml"), []byte("vcpus = 1\n"), 0o600))
}

// condition answers [firecracker] beside what all scenarios can ask.
func condition(name string) (bool, error) {
	if name == "firecracker" {
		_, err := exec.LookPath("firecracker")
		return err == nil, nil
	}
	known, err := scenario.Condition(name)
	if err != nil {
		return false, fmt.Errorf("%w of the lab", err)
	}
	return known, nil
}
