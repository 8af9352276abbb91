package serve

import (
	"context"
	"sync"

	"banger/internal/model"
)

// Turns has calls for one thing done one after the other: two at once could each see half of what the other makes. The
// zero value is ready.
type Turns[Key comparable] struct {
	mu   sync.Mutex
	busy map[Key]*place
}

// place is a turn, there while somebody has it or waits for it.
type place struct {
	turn    chan struct{} // holds one
	waiting int
}

// Take waits for the turn of a key, which done gives back.
func (t *Turns[Key]) Take(ctx context.Context, k Key) (done func(), err error) {
	t.mu.Lock()
	p := t.busy[k]
	if p == nil {
		if t.busy == nil {
			t.busy = map[Key]*place{}
		}
		p = &place{turn: make(chan struct{}, 1)}
		t.busy[k] = p
	}
	p.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if p.waiting--; p.waiting == 0 {
			delete(t.busy, k)
		}
	}
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, model.HostErrorf(ctx.Err(), "cannot wait for another call for the same")
	}
}
