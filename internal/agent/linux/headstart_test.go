package linux

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	for boot, want := range map[time.Duration]float64{
		0: 1, 200 * time.Millisecond: 1, time.Second: 1, 2500 * time.Millisecond: 2.5, 4 * time.Second: 4, time.Hour: maxPace,
	} {
		if got := pace(boot); got != want {
			t.Errorf("after %s: %v, want %v", boot, got, want)
		}
	}
}

func TestHeadStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var given atomic.Bool
		var h headStart
		h.hold(func() { given.Store(true) })
		at := func(d time.Duration, want bool) {
			t.Helper()
			time.Sleep(h.paced(d))
			synctest.Wait()
			if given.Load() != want {
				t.Errorf("given: %v", !want)
			}
		}
		at(commandDue-time.Millisecond, false)
		h.within(commandHead)
		at(commandHead-time.Millisecond, false)
		h.within(commandTail)
		at(commandTail-time.Millisecond, false)
		at(2*time.Millisecond, true)
		h.within(commandHead) // a later command finds nothing held
		if h.cancel() {
			t.Error("something is held")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var h headStart
		h.hold(func() { t.Error("given after it was canceled") })
		if !h.cancel() {
			t.Error("nothing was held")
		}
		time.Sleep(h.paced(2 * commandDue))
	})
}
