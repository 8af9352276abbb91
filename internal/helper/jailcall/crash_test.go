//go:build crash

package jailcall_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/crash"
	"banger/internal/helper/jail"
	"banger/internal/helper/jailcall"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestKilledAroundACall kills the helper before and after each verb: its caller hears that it is gone, a VMM that runs is not
// disturbed, and the next helper takes everything from where it is. The points within the verbs are tried where they are.
func TestKilledAroundACall(t *testing.T) {
	t.Parallel()
	dir, cgroups := programs(t)
	for i, there := range []struct{ before, after bool }{{false, true}, {true, true}, {true, false}, {false, false}} {
		for when, runs := range map[string]bool{"before": there.before, "after": there.after} {
			point := fmt.Sprintf("helper.call.%s#%d", when, i+1)
			l, path := servetest.Listen(t)
			t.Cleanup(func() { _ = l.Close() })
			helper := servetest.Apart(t, l, apartVariable+"="+dir+" "+cgroups, crash.Env+"="+point)
			own, id := model.NewInstanceID(), model.NewVMID()
			c := jailcall.New(path, own)
			if err := use(t, c, id); !errors.Is(err, model.ErrUnavailable) {
				t.Fatalf("%s: got %v, want ErrUnavailable", point, err)
			}
			_ = helper.Wait()
			if !testenv.Killed(helper) {
				t.Fatalf("%s: it was not killed there: %v", point, helper.ProcessState)
			}
			seen := jail.New(jail.Options{Instance: own, UID: os.Getuid(), Dir: filepath.Join(dir, "jail"), Cgroups: cgroups})
			if pid, err := seen.Process(id); err != nil || (pid != 0) != runs {
				t.Errorf("%s: process %d runs, %v", point, pid, err)
			}
			next := servetest.Apart(t, l, apartVariable+"="+dir+" "+cgroups)
			t.Cleanup(func() {
				_ = next.Process.Kill()
				_ = next.Wait()
			})
			if err := errors.Join(c.Kill(t.Context(), id), c.Remove(t.Context(), id)); err != nil {
				t.Errorf("%s: %v", point, err)
			}
			if err := use(t, c, id); err != nil {
				t.Errorf("%s: again: %v", point, err)
			}
			if all, err := seen.List(t.Context()); err != nil || len(all) > 0 {
				t.Errorf("%s: left: %+v, %v", point, all, err)
			}
		}
	}
}

// use asks for each verb that changes something.
func use(t *testing.T, c *jailcall.Client, id model.VMID) error {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	spec := jail.Spec{Slot: 1, VCPUs: 1, MemoryBytes: 256 * model.MiB, Drives: []jail.Drive{{File: file(t, 1<<20, os.O_RDWR)}}, Network: jail.NetworkTap}
	if _, err := c.Start(t.Context(), id, spec, file(t, 0, os.O_RDWR), log); err != nil {
		return err
	}
	tap, err := c.OpenTap(t.Context(), id)
	if err != nil {
		return err
	}
	if err := tap.Close(); err != nil {
		return err
	}
	if err := c.Kill(t.Context(), id); err != nil {
		return err
	}
	return c.Remove(t.Context(), id)
}
