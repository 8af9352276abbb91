//go:build crash

package netcall_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"testing"

	"banger/internal/crash"
	"banger/internal/crash/crashtest"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/resolved/resolvedtest"
	"banger/internal/helper/serve/servetest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestKilledAtAnyPoint kills the helper before and after each verb, and at every point within one: the caller hears that it
// is gone, and the next helper takes everything from where it is. A tap that was opened for the caller is not left open.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	needNetwork(t)
	var points []string
	for n := 1; n <= calls; n++ {
		points = append(points, fmt.Sprintf("helper.call.before#%d", n), fmt.Sprintf("helper.call.after#%d", n))
	}
	points = append(points, crashtest.Points(t, "hostnet.", "resolved.tell.")...)
	bus := resolvedtest.Bus(t)
	resolvedtest.Start(t, bus)
	resolves := busVariable + "=" + bus
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			l, path := servetest.Listen(t)
			t.Cleanup(func() { _ = l.Close() })
			helper := apart(t, l, resolves, crash.Env+"="+point)
			c, ids := netcall.New(path, model.NewInstanceID()), [2]model.VMID{model.NewVMID(), model.NewVMID()}
			killed(t, helper, use(t, c, ids))
			next := apart(t, l, resolves)
			t.Cleanup(func() { kill(next) })
			if err := use(t, c, ids); err != nil {
				t.Error(err)
			}
			nothingLeft(t, c)

			// Killed once more, and then only swept.
			swept := netcall.New(path, model.NewInstanceID())
			kill(next)
			helper = apart(t, l, resolves, crash.Env+"="+point)
			killed(t, helper, use(t, swept, ids))
			last := apart(t, l, resolves)
			t.Cleanup(func() { kill(last) })
			if err := swept.Sweep(t.Context(), nil); err != nil {
				t.Error(err)
			}
			nothingLeft(t, swept)
		})
	}
}

// calls is how many use makes.
const calls = 12

// use asks for each verb that changes something, in an order in which all that they do is done.
func use(t *testing.T, c *netcall.Client, ids [2]model.VMID) error {
	t.Helper()
	for i, id := range ids {
		want := policy(t, "web.example:443,group:a")
		want.Wire = i == 0
		if _, err := c.Attach(t.Context(), id, i+1, want); err != nil {
			return err
		}
		if i > 0 {
			break // it has taken a tap that was ready
		}
		if err := c.Prepare(t.Context()); err != nil {
			return err
		}
	}
	names, err := c.ListenNames(t.Context())
	if err != nil {
		return err
	}
	if err := errors.Join(names.UDP.Close(), names.TCP.Close()); err != nil {
		return err
	}
	if err := c.TellResolved(t.Context()); err != nil {
		return err
	}
	if n, err := c.LookNames(t.Context()); err != nil || !n.Told {
		return fmt.Errorf("what systemd-resolved was told is %+v: %w", n, err)
	}
	p := hostnet.Pin{Entries: []string{"web.example:443"}, Addresses: []netip.Addr{netip.MustParseAddr("11.0.0.2")}, Life: model.MinPin}
	if err := c.PinAddresses(t.Context(), ids[1], 2, p); err != nil {
		return err
	}
	tap, err := c.Open(t.Context(), ids[1])
	if err != nil {
		return err
	}
	if err := tap.Close(); err != nil {
		return err
	}
	if err := c.Detach(t.Context(), ids[1]); err != nil {
		return err
	}
	if err := c.Recycle(t.Context()); err != nil {
		return err
	}
	if err := c.Detach(t.Context(), ids[0]); err != nil {
		return err
	}
	return c.Sweep(t.Context(), nil)
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
	if !testenv.Killed(helper) {
		t.Errorf("it was not killed there: %v", helper.ProcessState)
	}
}
