package storagecall

import (
	"context"
	"sync"

	"banger/internal/helper/serve"
	"banger/internal/model"
)

// turns has calls for one VM of one installation done one after the other: two at once could each see half of what the other
// makes.
type turns struct {
	mu   sync.Mutex
	busy map[key]*place
}

type key struct {
	instance model.InstanceID
	id       model.VMID
}

// place is a VM's turn, there while somebody has it or waits for it.
type place struct {
	turn    chan struct{} // holds one
	waiting int
}

// take checks a VM's id and waits for its turn, which done gives back.
func (t *turns) take(ctx context.Context, c serve.Caller, vm string) (id model.VMID, done func(), err error) {
	id = model.VMID(vm)
	if !id.Valid() {
		return "", nil, model.Errorf(model.ErrInvalid, "cannot do this for the VM %.64q: that is no id", vm)
	}
	k := key{c.Instance, id}
	t.mu.Lock()
	p := t.busy[k]
	if p == nil {
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
		return id, func() { <-p.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return "", nil, model.HostErrorf(ctx.Err(), "cannot wait for another call for the VM %s", id)
	}
}
