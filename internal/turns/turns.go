// Package turns has those who do something to one thing wait for each other.
package turns

import (
	"context"
	"sync"

	"banger/internal/model"
)

// Of has what is done to each thing, by its key, done one after the other: two at once could each see half of what the other
// makes. What is done to another thing waits for nobody. The zero value is ready.
type Of[Key comparable] struct {
	mu   sync.Mutex
	busy map[Key]*place
}

// place is a turn, there while somebody has it or waits for it.
type place struct {
	turn    chan struct{} // holds one
	waiting int
}

// Take waits for the turn of a key, which done gives back.
func (t *Of[Key]) Take(ctx context.Context, k Key) (done func(), err error) {
	t.mu.Lock()
	p := t.enter(k)
	t.mu.Unlock()
	select {
	case p.turn <- struct{}{}:
		return t.leaving(k, p), nil
	case <-ctx.Done():
		t.leave(k, p)
		return nil, model.HostErrorf(ctx.Err(), "cannot wait for another call for the same")
	}
}

// Try takes the turn of a key if nobody has it or waits for it.
func (t *Of[Key]) Try(k Key) (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[k] != nil {
		return nil, false
	}
	p := t.enter(k)
	p.turn <- struct{}{}
	return t.leaving(k, p), true
}

// enter returns the place of a key, at which the caller then is. mu is held.
func (t *Of[Key]) enter(k Key) *place {
	p := t.busy[k]
	if p == nil {
		if t.busy == nil {
			t.busy = map[Key]*place{}
		}
		p = &place{turn: make(chan struct{}, 1)}
		t.busy[k] = p
	}
	p.waiting++
	return p
}

func (t *Of[Key]) leave(k Key, p *place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.waiting--; p.waiting == 0 {
		delete(t.busy, k)
	}
}

func (t *Of[Key]) leaving(k Key, p *place) func() {
	return func() { <-p.turn; t.leave(k, p) }
}
