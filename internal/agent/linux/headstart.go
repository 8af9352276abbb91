package linux

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How long the image's own services wait for a command that comes with the start, as that of vm run does: such a command
// has the processor to itself for a moment, where starting services would take most of it. Nothing needs them sooner; what
// asks for them at once had to wait for them before, too. These are for a machine that has booted within quickBoot; one that
// took longer takes longer for a command, too.
const (
	commandDue  = 200 * time.Millisecond // until a command is started
	commandHead = 300 * time.Millisecond // from then on
	commandTail = 30 * time.Millisecond  // from its end on, for its output

	quickBoot = time.Second
	maxPace   = 5 // how much longer it may be
)

// headStart holds process 1 back for a first command. The zero value holds nothing.
type headStart struct {
	mu    sync.Mutex
	give  func() // lets process 1 go on; nil while nothing is held
	timer *time.Timer
	pace  float64 // how slow this machine is, from 1 on
}

// pace is that of a machine that took so long to boot.
func pace(boot time.Duration) float64 {
	return min(max(boot.Seconds()/quickBoot.Seconds(), 1), maxPace)
}

// uptime is how long this machine has run; zero where the kernel does not say.
func uptime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano())
}

// hold calls give in a while.
func (h *headStart) hold(give func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.give, h.pace = give, pace(uptime())
	h.timer = time.AfterFunc(h.paced(commandDue), func() {
		if h.cancel() {
			give()
		}
	})
}

// within makes it d from now on, at this machine's pace.
func (h *headStart) within(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.give != nil {
		h.timer.Reset(h.paced(d))
	}
}

// cancel lets go of what is held without a call, and says whether there was anything.
func (h *headStart) cancel() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.give != nil
	h.give = nil
	return held
}

func (h *headStart) paced(d time.Duration) time.Duration {
	return time.Duration(float64(d) * h.pace)
}
