package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/network/networktest"
)

// installation is the one that a directory stands for.
func installation(host string) model.InstanceID {
	sum := sha256.Sum256([]byte(host))
	return model.InstanceID(strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5])))
}

// verbs are those of the installation that a directory stands for.
func verbs(t *testing.T, host string) *hostnet.Host {
	t.Helper()
	h := hostnet.New(hostnet.Options{Instance: installation(host)})
	if problem := h.Problem(); problem != "" {
		t.Skip("not run: " + problem)
	}
	t.Cleanup(func() {
		if err := h.Sweep(context.Background(), nil); err != nil { // the test's own context has ended
			t.Error(err)
		}
		if found, err := h.List(context.Background()); err != nil || found.Bridge != "" || len(found.Tables)+len(found.Ports) > 0 {
			t.Errorf("left: %+v, %v", found, err)
		}
	})
	return h
}

func newDriver(t *testing.T, host string) *Driver {
	t.Helper()
	d := New(Options{Verbs: verbs(t, host), Publisher: networktest.NewPublisher(host), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = d.Close() }) // which has nothing to fail
	return d
}

// wires is a driver for VMMs in jails alone.
type wires struct{ *Driver }

func (wires) Links() []network.LinkKind { return []network.LinkKind{network.LinkWire} }

func TestConformance(t *testing.T) {
	conforms(t, func(t *testing.T, host string) network.Driver { return newDriver(t, host) })
}

func TestConformanceWithWires(t *testing.T) {
	conforms(t, func(t *testing.T, host string) network.Driver { return wires{newDriver(t, host)} })
}

func conforms(t *testing.T, driver func(t *testing.T, host string) network.Driver) {
	networktest.Run(t, networktest.Harness{
		New:    driver,
		Policy: "public", Ports: true,
		Has: func(t *testing.T, host string, id model.VMID) bool { return attached(t, host, id) },
	})
}

// attached says whether the kernel has a VM's port, whole.
func attached(t *testing.T, host string, id model.VMID) bool {
	t.Helper()
	found, err := verbs(t, host).List(t.Context())
	if err != nil {
		t.Error(err)
	}
	at := slices.IndexFunc(found.Ports, func(p hostnet.Port) bool { return p.ID == id })
	if at >= 0 && (found.Ports[at].Tap == "" || !found.Ports[at].Ruled) {
		t.Errorf("half a port: %+v", found.Ports[at])
	}
	return at >= 0
}

func TestASlotWithoutAnAddress(t *testing.T) {
	t.Parallel()
	d := newDriver(t, t.TempDir())
	s := network.Spec{Slot: hostnet.MaxSlot + 1, Kind: network.LinkOpenTap, Policy: "public"}
	if _, err := d.Set(t.Context(), model.NewVMID(), s); !errors.Is(err, model.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported", err)
	}
}

func TestLeaks(t *testing.T) {
	t.Parallel()
	d := newDriver(t, t.TempDir())
	running := model.VM{ID: model.NewVMID(), Name: "box", Network: "bridge", State: model.StateRunning}
	look := func(vms ...model.VM) []string {
		t.Helper()
		leaks, err := d.Leaks(t.Context(), vms)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, l := range leaks {
			kinds = append(kinds, l.Kind)
		}
		return kinds
	}
	if got := look(running); !slices.Equal(got, []string{"row"}) {
		t.Errorf("a VM without its tap: %v", got)
	}
	if _, err := d.Set(t.Context(), running.ID, network.Spec{Slot: 1, Kind: network.LinkTap, Policy: "none"}); err != nil {
		t.Fatal(err)
	}
	d.pool.tasks.Wait()
	if got := look(running); len(got) != 0 {
		t.Errorf("a VM with its tap, and taps that are ready: %v", got)
	}
	if got := look(); !slices.Equal(got, []string{"tap", "tap", "tap", "bridge", "table", "table"}) {
		t.Errorf("a tap without its VM, and two that are ready: %v", got)
	}
	if err := d.Clear(t.Context(), running.ID, model.NetHandles{}); err != nil {
		t.Fatal(err)
	}
	if got := look(); len(got) != 0 {
		t.Errorf("after all was taken away: %v", got)
	}
}
