package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"banger/internal/model"
)

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.HasPrefix(err.Error(), "cannot ") {
		t.Errorf("got %v, want one that starts with cannot and is %v", err, kind)
	}
}

func TestVMComesBackAsItWas(t *testing.T) {
	t.Parallel()
	s := open(t)
	vm := newVM("box")
	stored, err := s.CreateVM(t.Context(), vm)
	if err != nil {
		t.Fatal(err)
	}
	vm.Slot = 1
	got, err := s.VM(t.Context(), vm.ID)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.VMs(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	for what, have := range map[string]model.VM{"CreateVM": stored, "VM": got, "VMs": all[0]} {
		if diff := cmp.Diff(vm, have); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	plain := model.VM{ID: model.NewVMID(), Name: "plain", State: model.StateCreating, Image: digest(1), Kernel: digest(2)}
	if stored, err = s.CreateVM(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	plain.Slot = 2
	if diff := cmp.Diff(plain, stored); diff != "" {
		t.Errorf("zero fields: %s", diff)
	}
}

func TestEveryStateIsStored(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, state := range model.States() {
		vm := newVM(state.String())
		vm.State = state
		if got, err := s.CreateVM(t.Context(), vm); err != nil || got.State != state {
			t.Errorf("%s: %s, %v", state, got.State, err)
		}
	}
	bad := newVM("bad")
	bad.State = 0
	if _, err := s.CreateVM(t.Context(), bad); err == nil {
		t.Error("the invalid state was stored")
	}
}

func TestCreateVMRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	vm := create(t, s, "box")
	_, err := s.CreateVM(t.Context(), newVM("box"))
	wantKind(t, err, model.ErrExists)
	if !strings.Contains(err.Error(), "banger vm show box") || !strings.Contains(err.Error(), "another name") {
		t.Errorf("the message does not help: %v", err)
	}
	twin := newVM("other")
	twin.ID = vm.ID
	_, err = s.CreateVM(t.Context(), twin)
	wantKind(t, err, model.ErrExists)
	for _, orphan := range []func(*model.VM){func(v *model.VM) { v.Image = digest(9) }, func(v *model.VM) { v.Kernel = digest(9) }} {
		v := newVM("orphan")
		orphan(&v)
		_, err = s.CreateVM(t.Context(), v)
		wantKind(t, err, model.ErrNotFound)
	}
	if all, err := s.VMs(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d VMs, %v: want the first only", len(all), err)
	}
}

func TestSlotsAreTheLowestFree(t *testing.T) {
	t.Parallel()
	s := open(t)
	vms := map[string]model.VM{}
	for i, c := range []struct {
		create, remove string
		slot           int
	}{
		{create: "a", slot: 1}, {create: "b", slot: 2}, {create: "c", slot: 3}, {create: "d", slot: 4},
		{remove: "b"}, {remove: "c"}, {create: "e", slot: 2}, {remove: "a"}, {create: "f", slot: 1}, {create: "g", slot: 3}, {create: "h", slot: 5},
	} {
		if c.remove != "" {
			id := vms[c.remove].ID
			if _, err := s.SetState(t.Context(), id, Transition{To: model.StateDeleting}); err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteVM(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			continue
		}
		vms[c.create] = create(t, s, c.create)
		if got := vms[c.create].Slot; got != c.slot {
			t.Errorf("step %d: %s got slot %d, want %d", i, c.create, got, c.slot)
		}
	}
}

func TestConcurrentCreatesAndReads(t *testing.T) {
	t.Parallel()
	s := open(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			vm, err := s.CreateVM(t.Context(), newVM(fmt.Sprintf("vm-%d", i/2))) // every name twice
			if err != nil {
				if !errors.Is(err, model.ErrExists) {
					t.Error(err)
				}
				return
			}
			for range 5 {
				if err := s.Touch(t.Context(), vm.ID); err != nil {
					t.Error(err)
				}
				all, err := s.VMs(t.Context())
				if err != nil {
					t.Error(err)
				}
				found := false
				for _, v := range all {
					found = found || v.ID == vm.ID && v.UsedAt.After(vm.UsedAt)
				}
				if !found {
					t.Error("a list does not show what was written before it")
				}
			}
		})
	}
	wg.Wait()
	all, err := s.VMs(t.Context())
	if err != nil || len(all) != 10 {
		t.Fatalf("%d VMs, %v; want 10", len(all), err)
	}
	slots := map[int]bool{}
	for _, vm := range all {
		slots[vm.Slot] = true
	}
	for slot := 1; slot <= 10; slot++ {
		if !slots[slot] {
			t.Errorf("slot %d is not used: %v", slot, slots)
		}
	}
}

func TestVMsAreSortedByAge(t *testing.T) {
	t.Parallel()
	s := open(t)
	for i, name := range []string{"new", "old", "middle"} {
		vm := newVM(name)
		vm.CreatedAt = moment.Add(time.Duration([]int{3, 1, 2}[i]) * time.Hour)
		if _, err := s.CreateVM(t.Context(), vm); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for range 2 { // read, then from the snapshot
		all, err := s.VMs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, vm := range all {
			names = append(names, vm.Name)
		}
		all[0].Name = "changed by the caller"
	}
	if got := strings.Join(names, " "); got != "old middle new old middle new" {
		t.Error(got)
	}
}

func TestSmallChanges(t *testing.T) {
	t.Parallel()
	s := open(t)
	id := create(t, s, "box").ID
	ctx := t.Context()
	before := time.Now()
	if err := errors.Join(s.Touch(ctx, id), s.SetLeased(ctx, id, false)); err != nil {
		t.Fatal(err)
	}
	for want := int64(8); want <= 9; want++ {
		if got, err := s.NextGeneration(ctx, id); err != nil || got != want {
			t.Errorf("generation %d, %v; want %d", got, err, want)
		}
	}
	vm, err := s.VM(ctx, id)
	if err != nil || vm.UsedAt.Before(before.Round(0)) || vm.Leased || vm.Generation != 9 {
		t.Errorf("%+v, %v", vm, err)
	}
}

func TestMissingVM(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx, id := t.Context(), model.NewVMID()
	_, err := s.VM(ctx, id)
	wantKind(t, err, model.ErrNotFound)
	_, err = s.NextGeneration(ctx, id)
	wantKind(t, err, model.ErrNotFound)
	_, err = s.SetState(ctx, id, Transition{To: model.StateDeleting})
	wantKind(t, err, model.ErrNotFound)
	wantKind(t, s.Touch(ctx, id), model.ErrNotFound)
	wantKind(t, s.SetLeased(ctx, id, true), model.ErrNotFound)
	if err := s.DeleteVM(ctx, id); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
}

// TestTransitions tries every pair of states: what the model's table allows happens, the rest changes nothing.
func TestTransitions(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, from := range model.States() {
		for _, to := range model.States() {
			vm := newVM(from.String() + "-" + to.String())
			vm.State = from
			vm, err := s.CreateVM(t.Context(), vm)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.SetState(t.Context(), vm.ID, Transition{To: to})
			if !from.CanBecome(to) {
				wantKind(t, err, model.ErrState)
				to = from
			} else if err != nil || got.State != to {
				t.Errorf("%s to %s: %s, %v", from, to, got.State, err)
			}
			after, err := s.VM(t.Context(), vm.ID)
			vm.State = to
			if diff := cmp.Diff(vm, after); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
		}
	}
}

func TestTransitionRecords(t *testing.T) {
	t.Parallel()
	s := open(t)
	vm := create(t, s, "box")
	why, when := "the guest kernel panicked", moment.Add(time.Hour)
	_, err := s.SetState(t.Context(), vm.ID, Transition{From: []model.State{model.StateRunning}, To: model.StateStopped})
	wantKind(t, err, model.ErrState)
	for _, step := range []Transition{
		{From: []model.State{model.StateStopped, model.StateCreating}, To: model.StateStopped, LastError: &why},
		{To: model.StateStarting},
		{To: model.StateRunning, LastError: new(string), StartedAt: &when},
	} {
		if vm, err = s.SetState(t.Context(), vm.ID, step); err != nil {
			t.Fatal(err)
		}
		if step.To == model.StateStarting && vm.LastError != why {
			t.Errorf("the error was lost: %q", vm.LastError)
		}
	}
	after, err := s.VM(t.Context(), vm.ID)
	if err != nil || after.LastError != "" || !after.StartedAt.Equal(when) || after.State != model.StateRunning {
		t.Errorf("%+v, %v", after, err)
	}
	if diff := cmp.Diff(vm, after); diff != "" {
		t.Error(diff)
	}
}

func TestDeleteVMWantsTheIntent(t *testing.T) {
	t.Parallel()
	s := open(t)
	vm := create(t, s, "box")
	wantKind(t, s.DeleteVM(t.Context(), vm.ID), model.ErrState)
	if _, err := s.SetState(t.Context(), vm.ID, Transition{To: model.StateDeleting}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.DeleteVM(t.Context(), vm.ID); err != nil {
			t.Fatal(err)
		}
	}
	create(t, s, "box") // the name is free again
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.CreateVM(ctx, newVM("box"))
	wantKind(t, err, model.ErrCanceled)
	_, err = s.VMs(ctx)
	wantKind(t, err, model.ErrCanceled)
	if all, err := s.VMs(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	s.writing <- struct{}{} // a write that takes long
	late, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	wantKind(t, s.Touch(late, "x"), model.ErrTimeout)
	<-s.writing
}

func TestUpdateSpec(t *testing.T) {
	t.Parallel()
	s := open(t)
	vm := create(t, s, "box")
	vm.Spec.Network, vm.Network = "open", "user"
	vm.Spec.Ports = []model.PortForward{{HostIP: model.Loopback(), HostPort: 8080, GuestPort: 80, UDP: true}}
	vm.Spec.HostPorts, vm.Spec.PortsAuto, vm.Spec.Proxy, vm.Spec.CA = []uint16{5432}, true, true, true
	if err := s.UpdateSpec(t.Context(), vm.ID, vm.Spec, vm.Network); err != nil {
		t.Fatal(err)
	}
	got, err := s.VM(t.Context(), vm.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(vm, got, cmp.Comparer(func(a, b model.PortForward) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	wantKind(t, s.UpdateSpec(t.Context(), model.NewVMID(), vm.Spec, "user"), model.ErrNotFound)
}
