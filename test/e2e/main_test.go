//go:build e2e

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"banger/internal/image/imagetest"
	"banger/test/scenario"
)

func TestMain(m *testing.M) {
	if code, found := runRole(os.Args); found {
		os.Exit(code)
	}
	flag.Parse()
	os.Exit(runMain(m))
}

func runMain(m *testing.M) int {
	h, err := scenario.FindHost()
	if err == nil {
		err = h.Prepare()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: cannot run the scenarios:", err)
		return 1
	}
	// The tests find what was prepared through the environment, as the scripts do.
	os.Setenv("BANGER_E2E_BIN", h.Bin)
	os.Setenv("BANGER_E2E_SHARED", h.Shared)
	return m.Run()
}

// prepared is the host that runMain made ready.
func prepared() scenario.Host {
	return scenario.Host{Bin: os.Getenv("BANGER_E2E_BIN"), Shared: os.Getenv("BANGER_E2E_SHARED")}
}

// TestKVM names, where the scenarios ran with software emulation, why the accelerated ones did not.
func TestKVM(t *testing.T) {
	h, state := prepared(), t.TempDir()
	if out, err := h.Banger(t.Context(), state, "vm", "list").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := h.Banger(t.Context(), state, "daemon", "status", "--format", "json").Output()
	if stopped := h.Banger(t.Context(), state, "daemon", "stop").Run(); err != nil || stopped != nil {
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
	cmds := h.Commands()
	maps.Copy(cmds, map[string]func(*testscript.TestScript, bool, []string){
		"misbehave":   cmdMisbehave,
		"push":        i.cmdPush,
		"registry":    cmdRegistry,
		"requests":    cmdRequests,
		"saveimage":   i.cmdSaveImage,
		"treelisting": cmdTreeListing,
		"world":       cmdWorld,
	})
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			registry := new(*imagetest.Registry)
			env.Values[registryKey{}] = registry
			env.Defer(func() { // the last thing: a daemon that is still at work may need it
				if *registry != nil {
					(*registry).Close()
				}
			})
			return h.Setup(env)
		},
		Condition: condition,
		Cmds:      cmds,
	})
}

// condition answers [world] and [tun] beside what all scenarios can ask: whether the namespaces of a world can be had, and
// whether taps can be made in them.
func condition(name string) (bool, error) {
	switch name {
	case "world":
		return mayMakeWorlds(), nil
	case "tun":
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err == nil, nil
	}
	return scenario.Condition(name)
}
