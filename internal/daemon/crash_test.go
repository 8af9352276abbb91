//go:build crash

package daemon_test

import (
	"banger/client"
	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/testenv"
	"banger/internal/vmm/vmmtest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// life is what is special about a VM's.
type life struct {
	behaviour string // of its VMM
	rootDisk  string // the driver's name
}

// live leads a VM's whole life; it says after each step what was promised: "" for nothing, else the state, or "gone".
func (h *host) live(rootDisk string) (promise string) {
	c, err := client.Dial(h.t.Context(), client.Options{Dirs: h.dirs})
	if err != nil {
		return "" // the daemon is dead already
	}
	defer c.Close()
	ctx := h.t.Context()
	wait := func(op *client.Operation, err error) (client.Result, error) {
		if err != nil {
			return client.Result{}, err
		}
		return op.Wait(func(client.Event) {})
	}
	made, err := wait(c.Create(ctx, client.CreateRequest{Name: "box", RootDisk: rootDisk, DiskBytes: model.MinDiskBytes, Start: true}))
	if err != nil {
		return ""
	}
	for _, step := range []struct {
		do      func() (client.Result, error)
		promise string
	}{
		{func() (client.Result, error) { return wait(c.Stop(ctx, made.VM.ID, time.Second)) }, "stopped"},
		{func() (client.Result, error) { return wait(c.Start(ctx, made.VM.ID)) }, "running"},
		{func() (client.Result, error) {
			return client.Result{}, c.SetNetwork(ctx, made.VM.ID, client.NetworkChange{Policy: "open"})
		}, "running"},
		{func() (client.Result, error) { return wait(c.Delete(ctx, made.VM.ID)) }, "gone"},
	} {
		promise = "kept"
		if _, err := step.do(); err != nil {
			return promise
		}
		promise = step.promise
	}
	return promise
}

// rootDiskOf is the driver with which a VM's life passes the point.
func rootDiskOf(point string) string {
	driver, _, _ := strings.Cut(point, ".")
	return map[string]string{"overlay": "overlay", "dmsnap": "dm-snapshot"}[driver]
}

// walkTheirOwn are the packages' whose tests walk their points. A point of any other is walked here.
var walkTheirOwn = []string{
	"bridge", "firecracker", "helper", "hostnet", "jail", "process", "qemu", "resolved", "storage", "system", "udev", "user", "workspace",
}

// elsewhere are the points that a VM's life does not pass.
func elsewhere(point string) bool {
	of, _, _ := strings.Cut(point, ".")
	return of == "image" && !strings.HasPrefix(point, "image.initrd.") || // walked by the jobs of images
		slices.Contains(walkTheirOwn, of) ||
		of == "store" || // a new database, walked below
		point == "start.undone" || point == "start.again" || point == "reconcile.undo.after"
}

func TestADaemonKilledAtAnyPointOfALifeLeaksNothing(t *testing.T) {
	t.Parallel()
	for _, point := range crash.Points() {
		if !elsewhere(point) {
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				walk(t, life{rootDisk: rootDiskOf(point)}, point)
			})
		}
	}
}

// TestADaemonKilledLeavesNoDevices walks the points between which a root disk has devices.
func TestADaemonKilledLeavesNoDevices(t *testing.T) {
	t.Parallel()
	for _, point := range crash.Points() {
		if strings.HasPrefix(point, "start.") && !elsewhere(point) || strings.HasPrefix(point, "stop.") || strings.HasPrefix(point, "delete.") {
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				walk(t, life{rootDisk: "dm-snapshot"}, point)
			})
		}
	}
}

func TestADaemonKilledElsewhereLeaksNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ first, behaviour, second string }{
		"after a start was undone":           {first: "start.undone", behaviour: string(vmmtest.ExitAtOnce)},
		"while a guest is booted again":      {first: "start.again", behaviour: string(vmmtest.LateTimer)},
		"while a creation is being undone":   {first: "create.disk.after", second: "reconcile.undo.after"},
		"before a new database has its name": {first: "store.create.before"},
		"after a new database has its name":  {first: "store.create.after"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := []string{c.first}
			if c.second != "" {
				points = append(points, c.second)
			}
			walk(t, life{behaviour: c.behaviour}, points...)
		})
	}
}

// walk kills daemons at points, one after the other, and asks the one after them what is left.
func walk(t *testing.T, l life, points ...string) {
	h := newHost(t)
	promise := ""
	for i, point := range points {
		cmd := h.start(crash.Env+"="+point, behaviourVariable+"="+l.behaviour)
		if i == 0 {
			promise = h.live(l.rootDisk)
		}
		died(t, cmd, point)
	}
	cmd := h.start()
	c := h.dial()
	vms := h.settled(c)
	switch {
	case promise == "gone" && len(vms) > 0:
		t.Errorf("the VM was deleted, and is there: %+v", vms)
	case promise != "" && promise != "gone" && len(vms) == 0 && !strings.HasPrefix(points[0], "delete.") && !strings.Contains(points[0], "remove"):
		t.Errorf("the VM was there (%s), and is gone", promise)
	}
	h.noLeaks(vms)
	for _, v := range vms {
		op, err := c.Delete(t.Context(), string(v.ID))
		if err == nil {
			_, err = op.Wait(func(client.Event) {})
		}
		if err != nil {
			t.Errorf("the VM cannot be deleted: %v", err)
		}
	}
	h.stop(cmd)
	h.noLeaks(nil)
}

// died requires that the daemon was killed by itself, at the point.
func died(t *testing.T, cmd *exec.Cmd, point string) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if testenv.Killed(cmd) {
			return
		}
		t.Fatalf("the daemon did not die at %s: %v", point, err)
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-ended
		t.Fatalf("%s was never reached", point)
	}
}
