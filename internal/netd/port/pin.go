package port

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"banger/internal/egress"
	"banger/internal/model"
)

// Pin has the host's kernel let a VM reach addresses, for entries of its policy that are domains, for so long.
type Pin struct {
	ID        string
	Address   netip.Addr // the VM's
	Gateway   netip.Addr
	Entries   []string
	Addresses []netip.Addr
	Life      time.Duration
}

// pinned is what the kernel was told that names of a VM's policy stand for.
type pinned struct {
	telling sync.Mutex // one at a time: of many who ask for a name, the first has it told

	mu    sync.Mutex
	until map[pinOf]time.Time
}

type pinOf struct {
	entry string
	addr  netip.Addr
}

// keep forgets what was told of other entries: the kernel does, too.
func (p *pinned) keep(policy model.Policy) {
	kept := map[string]bool{}
	for _, e := range policy.Names() {
		kept[e.String()] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.until {
		if !kept[key.entry] {
			delete(p.until, key)
		}
	}
}

// lasts says whether all of it is known to the kernel until then.
func (p *pinned) lasts(entries []string, addrs []netip.Addr, until time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		for _, a := range addrs {
			if p.until[pinOf{e, a}].Before(until) {
				return false
			}
		}
	}
	return true
}

func (p *pinned) add(entries []string, addrs []netip.Addr, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil || len(p.until) > model.MaxPins {
		p.until = map[pinOf]time.Time{} // they are told again when somebody asks
	}
	for _, e := range entries {
		for _, a := range addrs {
			p.until[pinOf{e, a}] = until
		}
	}
}

// pin has the kernel let the guest reach what a name stands for, before the guest is told. ttl is how long it may believe
// it.
func (d *Direct) pin(ctx context.Context, name string, addrs []netip.Addr, ttl time.Duration) error {
	var entries []string
	for _, e := range d.rules.Load().Naming(name) {
		entries = append(entries, e.String())
	}
	if len(entries) == 0 { // the policy has changed to one that allows it without, or not at all
		return nil
	}
	if len(entries)*len(addrs) > model.MaxPins {
		return model.Errorf(model.ErrUnavailable, "%s stands for %d addresses, by %d entries of the policy", name, len(addrs), len(entries))
	}
	life := egress.PinLife(ttl)
	needed := time.Now().Add(life)
	if d.pinned.lasts(entries, addrs, needed) {
		return nil
	}
	d.pinned.telling.Lock()
	defer d.pinned.telling.Unlock()
	if d.pinned.lasts(entries, addrs, needed) {
		return nil
	}
	life += model.PinGrace
	until := time.Now().Add(life) // a little less than what the kernel makes of it
	c := d.config.Load()
	for some := range slices.Chunk(addrs, maxPinned) {
		err := d.env.Pin(ctx, Pin{ID: c.ID, Address: c.Address, Gateway: c.Gateway, Entries: entries, Addresses: some, Life: life})
		if err != nil {
			d.log.Info("the kernel was not told what a name stands for", "name", name, "error", err)
			return err
		}
	}
	d.pinned.add(entries, addrs, until)
	return nil
}

const (
	maxPinned   = 256             // addresses that the kernel is told of at once
	remindLimit = 2 * time.Second // somebody waits for the change
)

// Remind has the kernel know what names stand for that the guest knows: after a change of the policy, where another entry
// allows them now. That it cannot be told of one is for who asks for that again.
func (d *Direct) Remind(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, remindLimit)
	defer cancel()
	for _, p := range d.pins.List(time.Now()) {
		if ctx.Err() != nil {
			return
		}
		_ = d.pin(ctx, p.Name, p.Addresses, p.Left)
	}
}
