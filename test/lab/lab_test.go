//go:build lab

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

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
		Setup:              h.Setup,
		Condition:          condition,
		Cmds:               h.Commands(),
	})
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
