package bridge

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
)

// TestThePoolIsTended has VMs come and go, and looks when what that began has ended.
func TestThePoolIsTended(t *testing.T) {
	t.Parallel()
	d := newDriver(t, t.TempDir())
	look := func(ports, spare, left int) {
		t.Helper()
		d.pool.tasks.Wait()
		found, err := d.o.Verbs.List(t.Context())
		if err != nil || len(found.Ports) != ports || len(found.Spare) != spare || len(found.Left) != left {
			t.Errorf("there are %+v, %v; want %d VMs' taps, %d ready and %d left", found, err, ports, spare, left)
		}
	}
	var ids []model.VMID
	for slot := range 3 {
		ids = append(ids, model.NewVMID())
		if _, err := d.Set(t.Context(), ids[slot], network.Spec{Slot: slot + 1, Kind: network.LinkTap, Policy: "none"}); err != nil {
			t.Fatal(err)
		}
		look(slot+1, 2, 0)
	}
	if err := d.Clear(t.Context(), ids[0], model.NetHandles{}); err != nil {
		t.Error(err)
	}
	look(2, 2, 0)
	if err := d.Sweep(t.Context(), map[model.VMID]bool{ids[1]: true}); err != nil {
		t.Error(err)
	}
	look(1, 2, 0)
	// A daemon that ends leaves what it has not done to the next one.
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Set(t.Context(), ids[2], network.Spec{Slot: 3, Kind: network.LinkTap, Policy: "none"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Clear(t.Context(), ids[2], model.NetHandles{}); err != nil {
		t.Error(err)
	}
	look(1, 1, 1)
	next := New(Options{Verbs: d.o.Verbs, Publisher: d.o.Publisher, Log: slog.New(slog.DiscardHandler)})
	if err := next.Sweep(t.Context(), map[model.VMID]bool{ids[1]: true}); err != nil {
		t.Error(err)
	}
	next.pool.tasks.Wait()
	look(1, 2, 0)
	if err := next.Clear(t.Context(), ids[1], model.NetHandles{}); err != nil {
		t.Error(err)
	}
	look(0, 0, 0)
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

// slow has a pool whose tending takes until it is told, or its context ends.
type slow struct {
	Verbs
	begun, goOn chan struct{}
	err         error
}

func (s slow) Prepare(context.Context) error { return s.err }

func (s slow) Recycle(ctx context.Context) error {
	s.begun <- struct{}{}
	select {
	case <-s.goOn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publishes is a publisher of nothing.
type publishes struct{ Publisher }

func (publishes) Publish(context.Context, model.VMID, network.Direct) (network.Published, error) {
	return network.Published{}, nil
}

func (publishes) Watch(func(model.VMID)) {}

func (publishes) Withdraw(context.Context, model.VMID) error { return nil }

func (slow) Attach(context.Context, model.VMID, int, hostnet.Rules) (hostnet.Port, error) {
	return hostnet.Port{}, nil
}

func (slow) List(context.Context) (hostnet.Found, error) { return hostnet.Found{}, nil }

func (slow) Detach(context.Context, model.VMID) error { return nil }

// TestNobodyWaitsForThePool has VMs come and go while it is tended. What they change is seen to afterwards, once.
func TestNobodyWaitsForThePool(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	s := slow{begun: make(chan struct{}), goOn: make(chan struct{}), err: errors.New("odd")}
	d := New(Options{Verbs: s, Publisher: publishes{}, Log: slog.New(slog.NewTextHandler(&said, nil))})
	change := func() {
		t.Helper()
		_, err := d.Set(t.Context(), model.NewVMID(), network.Spec{Slot: 1, Kind: network.LinkTap, Policy: "none"})
		if err := errors.Join(err, d.Clear(t.Context(), model.NewVMID(), model.NetHandles{})); err != nil {
			t.Error(err)
		}
	}
	change()
	<-s.begun
	for range 10 {
		change()
	}
	s.goOn <- struct{}{}
	<-s.begun
	s.goOn <- struct{}{}
	d.pool.tasks.Wait()
	if got := strings.Count(said.String(), "odd"); got != 2 {
		t.Errorf("it failed twice, and said:\n%s", said.String())
	}
	change()
	<-s.begun
	if err := d.Close(); err != nil { // while it is tended
		t.Error(err)
	}
	change()
	d.pool.tasks.Wait()
}
