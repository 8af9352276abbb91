package port

import (
	"context"
	"net/netip"
	"sync"
)

// flow is a connection between the guest and somebody.
type flow struct {
	dst    netip.AddrPort // what the guest asked for; of an inbound one, who came
	via    *Listener      // the forward through which it came, or nil
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	name    string // the domain name that allowed it; it stays allowed when the name's address has changed since
	onAbort func()
	aborted bool
}

// abort makes whoever carries the flow end it. It does not wait.
func (f *flow) abort() {
	f.mu.Lock()
	onAbort := f.onAbort
	f.onAbort, f.aborted = nil, true
	f.mu.Unlock()
	f.cancel()
	if onAbort != nil {
		onAbort()
	}
}

func (f *flow) allowAs(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.name = name
}

func (f *flow) allowedAs() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.name
}

// whenAborted says what abort does from now on beside ending ctx; it must not wait for a lock of the stack, which a guest
// can keep busy. False: it has been aborted.
func (f *flow) whenAborted(do func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onAbort = do
	return !f.aborted
}

// flows are those of one port.
type flows struct {
	mu   sync.Mutex
	open map[*flow]bool
	shot bool // no more are taken
}

// add enters a flow, which cannot live longer than ctx; nil when the port is closing.
func (s *flows) add(ctx context.Context, dst netip.AddrPort, via *Listener) *flow {
	f := &flow{dst: dst, via: via}
	f.ctx, f.cancel = context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shot {
		f.cancel()
		return nil
	}
	s.open[f] = true
	return f
}

func (s *flows) remove(f *flow) {
	f.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, f)
}

func (s *flows) each(do func(*flow)) {
	s.mu.Lock()
	list := make([]*flow, 0, len(s.open))
	for f := range s.open {
		list = append(list, f)
	}
	s.mu.Unlock()
	for _, f := range list {
		do(f)
	}
}

// shut aborts all and takes no more.
func (s *flows) shut() {
	s.mu.Lock()
	s.shot = true
	s.mu.Unlock()
	s.each(func(f *flow) { f.abort() })
}
