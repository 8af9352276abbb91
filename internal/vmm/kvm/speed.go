package kvm

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

const (
	deadline = 2 * time.Second // for all loops, which a usable KVM runs in a millisecond
	tries    = 5               // of a step: whoever is preempted in one is not in all of them
	factor   = 20              // how many times as long as outside a loop may take in a guest
	entry    = 5 * time.Millisecond
)

// steps are lengths of loops. One that emulates each instruction needs half a microsecond and more for it: 50 ms for the
// longer one, for which a processor needs some 20 us. The shorter one shows one that is slower still.
var steps = []uint64{1_000, 50_000}

// try runs a tiny guest, a loop of a given length, and times it. A device that opens proves nothing: a hypervisor below may
// emulate every instruction or run none. How fast KVM should be is measured by the same loop outside: the host itself may
// be slow, or busy. A guest that does not come back is interrupted.
func try() Verdict {
	opened, result := make(chan struct{}), make(chan Verdict, 1)
	g := &loopGuest{}
	go func() {
		// The run is interrupted by a signal to its thread, which therefore must not be another goroutine's; it ends with
		// this goroutine, since it is not unlocked.
		runtime.LockOSThread()
		defer g.close()
		err := g.open()
		close(opened)
		if err != nil {
			result <- noGuest(err)
			return
		}
		result <- g.judge()
	}()
	<-opened // calls of the kernel that return, if only after a while on a busy host
	limit := time.NewTimer(deadline)
	defer limit.Stop()
	for {
		select {
		case v := <-result:
			return v
		case <-limit.C:
			g.interrupt()
			limit.Reset(10 * time.Millisecond) // the signal may have come just before the guest was entered
		}
	}
}

func noGuest(err error) Verdict {
	return Verdict{Problem: fmt.Sprintf("%s runs no guest (%v)", device, err)}
}

func (g *loopGuest) judge() Verdict {
	for i, loops := range steps {
		outside, _ := fastest(func() error { countDown(loops); return nil }, 0)
		limit := factor*outside + entry
		inside, err := fastest(func() error { return g.run(loops) }, limit)
		switch {
		case errors.Is(err, errInterrupted) && inside == 0 && i > 0: // it does come back, only not in time
			return Verdict{Slow: fmt.Sprintf("%s is too slow here (%d loops did not end in %v)", device, loops, deadline)}
		case err != nil && (inside == 0 || !errors.Is(err, errInterrupted)):
			return noGuest(err)
		case inside > limit:
			return Verdict{Slow: fmt.Sprintf("%s is too slow here (%d loops took %v, and %v outside of it)", device, loops,
				inside.Round(10*time.Microsecond), outside.Round(10*time.Microsecond))}
		}
	}
	return Verdict{}
}

// fastest times some tries and returns the shortest; one below enough ends them. Zero is that none succeeded.
func fastest(try func() error, enough time.Duration) (best time.Duration, err error) {
	for range tries {
		begin := time.Now()
		if err := try(); err != nil {
			return best, err
		}
		if took := time.Since(begin); best == 0 || took < best {
			best = max(took, 1)
		}
		if best <= enough {
			break
		}
	}
	return best, nil
}

// countDown is the guest's loop.
//
//go:noinline
func countDown(loops uint64) {
	for loops > 0 {
		loops--
	}
}
