package jailcall_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	helperv1 "banger/api/helper/v1"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestHostileWires are asked for by a VM that they are not of, whatever device has the name: nothing is done.
func TestHostileWires(t *testing.T) {
	t.Parallel()
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "ip")
	socket, effects := serveGuarded(t)
	lock, log, base, work := file(t, 0, os.O_RDWR), fifo(t, os.O_RDWR), file(t, 1<<20, os.O_RDONLY), file(t, 1<<20, os.O_RDWR)
	const another = model.VMID("bbbbbbbbbbbbbbbb")
	attach := func(o hostnet.Options, id model.VMID, slot int, wired bool) string {
		t.Helper()
		n := hostnet.New(o)
		if problem := n.Problem(); problem != "" {
			t.Skip("not run: " + problem)
		}
		t.Cleanup(func() {
			if err := n.Sweep(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
		port, err := n.Attach(t.Context(), id, slot, hostnet.Rules{Policy: model.Policy{Kind: model.KindNone}, Wire: wired})
		if err != nil {
			t.Fatal(err)
		}
		return port.Tap
	}
	own := hostnet.Options{Instance: instance, UID: os.Getuid()}
	attach(own, another, 1, true)
	attach(own, someVM, 2, false)
	attach(hostnet.Options{Instance: "cccccccc", UID: os.Getuid()}, someVM, 3, true)
	attach(hostnet.Options{Instance: instance, UID: os.Getuid() + 1}, someVM, 4, true)
	prefix := strings.TrimSuffix(attach(own, model.NewVMID(), 9, true), "9")
	bridge := "bb" + strings.TrimPrefix(prefix, "bt")
	for _, c := range []string{ // the sweep takes them along, by their names
		"link add " + prefix + "5 type veth peer name eth5", // as a host has them for other ends
		"link set " + prefix + "5 alias banger\\ VM\\ " + someVM,
		"link add " + prefix + "6 type veth peer name eth6",
		"link set " + prefix + "6 master " + bridge,
	} {
		if out, err := exec.Command("sh", "-c", "ip "+c).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
	before := links(t)
	for name, slot := range map[string]uint32{
		"another VM's": 1, "a tap": 2, "another installation's": 3, "another user's": 4,
		"of no bridge": 5, "nobody's": 6, "none": 7,
	} {
		r := fine()
		r.Slot, r.Network = slot, helperv1.JailNetwork_JAIL_NETWORK_WIRE
		err := wire.Client{Socket: socket, Instance: instance}.Call(t.Context(), r, &helperv1.StartJailResponse{}, lock, log, base, work)
		if !errors.Is(err, model.ErrDenied) && !errors.Is(err, model.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if n := effects.Swap(0); n != 0 {
			t.Errorf("%s: %d effects, %v", name, n, err)
		}
	}
	if after := links(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	// And its own comes through all that.
	attach(own, someVM, 10, true)
	r := fine()
	r.Slot, r.Network = 10, helperv1.JailNetwork_JAIL_NETWORK_WIRE
	err := wire.Client{Socket: socket, Instance: instance}.Call(t.Context(), r, &helperv1.StartJailResponse{}, lock, log, base, work)
	if n := effects.Load(); n != 1 {
		t.Errorf("a good one: %d effects, %v", n, err)
	}
}

func links(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
