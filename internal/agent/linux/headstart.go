package linux

import (
	"sync"
	"time"
)

// How long the image's own services wait for a command that comes with the start, as that of vm run does: such a command
// has the processor to itself for a moment, where starting services would take most of it. Nothing needs them sooner; what
// asks for them at once had to wait for them before, too.
const (
	commandDue  = 100 * time.Millisecond // until a command is started
	commandHead = 300 * time.Millisecond // from then on
	commandTail = 30 * time.Millisecond  // from its end on, for its output
)

// headStart holds process 1 back for a first command. The zero value holds nothing.
type headStart struct {
	mu    sync.Mutex
	give  func() // lets process 1 go on; nil while nothing is held
	timer *time.Timer
}

// hold calls give in a while.
func (h *headStart) hold(give func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.give = give
	h.timer = time.AfterFunc(commandDue, func() {
		if h.cancel() {
			give()
		}
	})
}

// within makes it d from now on.
func (h *headStart) within(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.give != nil {
		h.timer.Reset(d)
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
