//go:build crash

package netcall_test

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"banger/internal/crash"
	"banger/internal/helper/netcall"
	"banger/internal/model"
)

// TestKilledAtAnyPoint kills the helper before and after each verb, and at every point within one: the caller hears that it
// is gone, and the next helper takes everything from where it is. A tap that was opened for the caller is not left open.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	points := []string{
		"helper.call.before#1", "helper.call.after#1", "helper.call.before#2", "helper.call.after#2", "helper.call.before#3", "helper.call.after#3",
	}
	for _, p := range crash.Points() {
		if strings.HasPrefix(p, "hostnet.") {
			points = append(points, p)
		}
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			l, path := listen(t)
			t.Cleanup(func() { _ = l.Close() })
			helper := apart(t, l, crash.Env+"="+point)
			c, id := netcall.New(path, model.NewInstanceID()), model.NewVMID()
			killed(t, helper, use(t, c, id))
			next := apart(t, l)
			t.Cleanup(func() { kill(next) })
			if err := use(t, c, id); err != nil {
				t.Error(err)
			}
			nothingLeft(t, c)

			// Killed once more, and then only swept.
			swept, id := netcall.New(path, model.NewInstanceID()), model.NewVMID()
			kill(next)
			helper = apart(t, l, crash.Env+"="+point)
			killed(t, helper, use(t, swept, id))
			last := apart(t, l)
			t.Cleanup(func() { kill(last) })
			if err := swept.Sweep(t.Context(), nil); err != nil {
				t.Error(err)
			}
			nothingLeft(t, swept)
		})
	}
}

// use asks for each verb that changes something, in turn.
func use(t *testing.T, c *netcall.Client, id model.VMID) error {
	t.Helper()
	if _, err := c.Attach(t.Context(), id, 1, policy(t, "public,group:a")); err != nil {
		return err
	}
	tap, err := c.Open(t.Context(), id)
	if err != nil {
		return err
	}
	if err := tap.Close(); err != nil {
		return err
	}
	return c.Detach(t.Context(), id)
}

// killed fails unless a helper was, and its caller heard of it.
func killed(t *testing.T, helper *exec.Cmd, err error) {
	t.Helper()
	if !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
		kill(helper)
		return
	}
	_ = helper.Wait()
	if status := helper.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("it was not killed there: %v", helper.ProcessState)
	}
}
