package daemon_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"banger/client"
	"banger/internal/model"
	"banger/internal/vmm/vmmtest"
)

// finish waits for an operation that was asked for.
func finish(op *client.Operation, err error) (client.Result, error) {
	if err != nil {
		return client.Result{}, err
	}
	return op.Wait(func(client.Event) {})
}

func TestHostileGuestsStopNobody(t *testing.T) {
	t.Parallel()
	for behaviour, says := range map[vmmtest.Behaviour]string{
		vmmtest.NeverReady:  "not ready",
		vmmtest.Rubbish:     "banger vm logs box",
		vmmtest.ExitAtOnce:  "VMM failed",
		vmmtest.PanicAtBoot: "panicked",
		vmmtest.ResetAtBoot: "rebooted",
		vmmtest.Flood:       "banger vm logs box",
	} {
		t.Run(string(behaviour), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			limit := "20s" // what ends or errs by itself does so long before
			if behaviour == vmmtest.NeverReady {
				limit = "2s"
			}
			cmd := h.start(behaviourVariable+"="+string(behaviour), bootVariable+"="+limit)
			c := h.dial()
			op, err := c.Create(t.Context(), client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes, Start: true})
			if err != nil {
				t.Fatal(err)
			}
			// Whatever the guest does, the others are answered.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := c.VMs(ctx, false); err != nil {
				t.Errorf("the list is not answered: %v", err)
			}
			if _, err := op.Wait(func(client.Event) {}); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("the start ended with %v, which does not say %q", err, says)
			}
			vms, err := c.VMs(t.Context(), false)
			if err != nil || len(vms) != 1 || vms[0].State != "failed" || vms[0].LastError == "" {
				t.Fatalf("the VM is not listed as failed with a reason: %+v, %v", vms, err)
			}
			h.noLeaks(h.settled(c))
			if _, err := finish(c.Delete(t.Context(), vms[0].ID)); err != nil {
				t.Error(err)
			}
			h.stop(cmd)
			h.noLeaks(nil)
		})
	}
}

func TestDeleteDoesNotWaitForAGuestThatNeverAnswers(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start(behaviourVariable + "=" + string(vmmtest.NeverReady))
	c := h.dial()
	op, err := c.Create(t.Context(), client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes, Start: true})
	if err != nil {
		t.Fatal(err)
	}
	deleted := false
	_, err = op.Wait(func(e client.Event) {
		if e.Stage != "wait for the guest" || deleted {
			return
		}
		deleted = true
		vms, err := c.VMs(t.Context(), false)
		if err != nil || len(vms) != 1 || vms[0].State != "starting" {
			t.Errorf("while it starts: %+v, %v", vms, err)
			return
		}
		if _, err := finish(c.Delete(t.Context(), vms[0].ID)); err != nil {
			t.Error(err)
		}
	})
	if err == nil || !deleted {
		t.Errorf("the start ended with %v (deleted: %t)", err, deleted)
	}
	h.stop(cmd)
	h.noLeaks(nil)
}

func TestALeasedVMGoesWithItsClientAndANamedOneStays(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	holder, err := client.Dial(t.Context(), client.Options{Dirs: h.dirs})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []client.CreateRequest{{Lease: true}, {Name: "kept"}} {
		r.DiskBytes, r.Start = model.MinDiskBytes, true
		if _, err := finish(holder.Create(t.Context(), r)); err != nil {
			t.Fatal(err)
		}
	}
	holder.Close()
	c := h.dial()
	deadline := time.Now().Add(30 * time.Second)
	for {
		vms, err := c.VMs(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if len(vms) == 1 && vms[0].Name == "kept" && vms[0].State == "running" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the leased VM is still there: %+v", vms)
		}
		time.Sleep(50 * time.Millisecond)
	}
	vms := h.settled(c)
	h.noLeaks(vms)
	if _, err := finish(c.Delete(t.Context(), string(vms[0].ID))); err != nil {
		t.Error(err)
	}
	h.stop(cmd)
	h.noLeaks(nil)
}

func TestVMsLiveThroughAKilledDaemon(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := h.start()
	made, err := finish(h.dial().Create(t.Context(), client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes, Start: true}))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		cmd = h.start()
		c := h.dial()
		h.noLeaks(h.settled(c))
		vms, err := c.VMs(t.Context(), false)
		if err != nil || len(vms) != 1 || vms[0].Handles.VMM == nil || *vms[0].Handles.VMM != *made.VM.Handles.VMM {
			t.Fatalf("after the daemon's death: %+v, %v; want the handles of %+v", vms, err, made.VM)
		}
	}
	if _, err := finish(h.dial().Delete(t.Context(), made.VM.ID)); err != nil {
		t.Error(err)
	}
	h.stop(cmd)
	h.noLeaks(nil)
}

func TestAGuestThatMeasuredItsTimerWrongIsBootedAgain(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		behaviour string
		boots     int
		warning   string // what one says
		fails     string // what the error says
	}{
		"once":              {behaviour: "first " + string(vmmtest.LateTimer), boots: 2},
		"no timer once":     {behaviour: "first " + string(vmmtest.NoTimer), boots: 2},
		"again and again":   {behaviour: string(vmmtest.LateTimer), boots: 4, warning: "timers in box take 2.00 times as long"},
		"no timer whenever": {behaviour: string(vmmtest.NoTimer), boots: 4, fails: "finds no timer; try again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			cmd := h.start(behaviourVariable + "=" + want.behaviour)
			c := h.dial()
			op, err := c.Create(t.Context(), client.CreateRequest{Name: "box", DiskBytes: model.MinDiskBytes, Start: true})
			if err != nil {
				t.Fatal(err)
			}
			warned := false
			_, err = op.Wait(func(e client.Event) {
				warned = warned || want.warning != "" && strings.Contains(e.Warning, want.warning)
			})
			if want.fails == "" && err != nil || want.fails != "" && (err == nil || !strings.Contains(err.Error(), want.fails)) {
				t.Errorf("the start ended with %v", err)
			}
			if warned != (want.warning != "") {
				t.Errorf("warned: %t", warned)
			}
			vms := h.settled(c)
			h.noLeaks(vms)
			if len(vms) != 1 {
				t.Fatalf("%d VMs are there", len(vms))
			}
			console, err := os.ReadFile(h.dirs.VM(vms[0].ID) + "/console.log")
			if boots := strings.Count(string(console), "boots, boot id"); err != nil || boots != want.boots {
				t.Errorf("the guest was booted %d times, not %d (%v)", boots, want.boots, err)
			}
			if _, err := finish(c.Delete(t.Context(), string(vms[0].ID))); err != nil {
				t.Error(err)
			}
			h.stop(cmd)
			h.noLeaks(nil)
		})
	}
}
