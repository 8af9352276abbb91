//go:build crash

package bridge

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"banger/internal/crash"
	"banger/internal/crash/crashtest"
	"banger/internal/helper/resolved/resolvedtest"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/testenv"
)

// TestKilledAtAnyPoint kills a daemon's driver. The next one gives both VMs their network, whatever is there of it, and takes
// it away; or only takes it away, of each or of all. What is another VM's is left alone.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	bus := resolvedtest.Bus(t)
	resolvedtest.Start(t, bus)
	for _, point := range crashtest.Points(t, "bridge.") {
		for name, next := range map[string]func(t *testing.T, l life){"set": sets, "clear": clears, "sweep": sweeps} {
			t.Run(point+","+name, func(t *testing.T) {
				t.Parallel()
				killedAt(t, bus, point, next)
			})
		}
	}
}

// killedAt has a driver killed, and next do something after that.
func killedAt(t *testing.T, bus, point string, next func(t *testing.T, l life)) {
	host := testenv.QuickDir(t)
	verbs(t, host) // is there what it takes?
	ids, third := []model.VMID{model.NewVMID(), model.NewVMID()}, model.NewVMID()
	l := newLife(host, bus, ids)
	t.Cleanup(func() { _ = l.d.Close() }) // which has nothing to fail
	here := netip.MustParseAddr("198.18.0.1")
	_, err := l.publisher.Publish(t.Context(), third, network.Direct{Address: here.Next(), Gateway: here, Policy: "none", Ports: []model.PortForward{taken}})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(host, killedDriver))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(host, killedDriver), bus, string(ids[0]), string(ids[1]))
	cmd.Env = append(os.Environ(), crash.Env+"="+point)
	if out, err := cmd.CombinedOutput(); !testenv.Killed(cmd) {
		t.Errorf("it was not killed there: %v, %s", err, out)
	}
	next(t, l)
	found, err := l.d.o.Verbs.List(t.Context())
	if err != nil || found.Bridge != "" || len(found.Ports)+len(found.Tables)+len(found.Spare)+len(found.Left) > 0 {
		t.Errorf("left: %+v, %v", found, err)
	}
	if got := l.publisher.Ports(third); len(got) != 1 || got[0] != taken {
		t.Errorf("another VM's ports are %v", got)
	}
}

// sets has both VMs have a network, and then none.
func sets(t *testing.T, l life) {
	ctx := t.Context()
	if err := errors.Join(l.set(ctx, 0, "public", model.PortForward{HostIP: model.Loopback(), GuestPort: 80}), l.set(ctx, 1, "none")); err != nil {
		t.Fatal(err)
	}
	found, err := l.d.o.Verbs.List(ctx)
	if err != nil || len(found.Ports) != 2 || !found.Ports[0].Ruled || !found.Ports[1].Ruled {
		t.Errorf("there is %+v, %v", found, err)
	}
	if one, two := l.d.HostName(l.ids[0]), l.d.HostName(l.ids[1]); one != "one.vm" || two != "two.vm" {
		t.Errorf("they are known as %q and %q", one, two)
	}
	if n, err := l.d.o.Verbs.LookNames(ctx); err != nil || !n.Told {
		t.Errorf("names are looked up by %+v, %v", n, err)
	}
	if got := l.publisher.Ports(l.ids[0]); len(got) != 1 {
		t.Errorf("published are %v", got)
	}
	clears(t, l)
}

// clears takes both away, one by one.
func clears(t *testing.T, l life) {
	for n, id := range l.ids {
		if err := l.clear(t.Context(), n); err != nil {
			t.Error(err)
		}
		if _, err := l.publisher.Check(t.Context(), id, "", false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("something is done for VM %d: %v", n, err)
		}
	}
}

// sweeps takes away all that the kernel has. What is done beside it the process that does it sweeps.
func sweeps(t *testing.T, l life) {
	if err := l.sweep(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
