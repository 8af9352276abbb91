package egress

import (
	"net/netip"
	"sync"
	"time"

	"banger/internal/model"
)

type pin struct {
	addr netip.Addr
	name string
}

// Pins remembers which names stood for an address in the answers that a VM was given. The zero value is empty.
type Pins struct {
	mu     sync.Mutex
	expire map[pin]time.Time
	names  map[netip.Addr][]string
}

// PinLife is how long an address is remembered for a name of whose answer this is the life.
func PinLife(ttl time.Duration) time.Duration { return min(max(ttl, model.MinPin), model.MaxPin) }

// Add remembers that name stands for addrs.
func (p *Pins) Add(name string, addrs []netip.Addr, ttl time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expire == nil {
		p.expire, p.names = map[pin]time.Time{}, map[netip.Addr][]string{}
	}
	until := now.Add(PinLife(ttl))
	for _, addr := range addrs {
		key := pin{addr, name}
		if old, known := p.expire[key]; known {
			if until.After(old) {
				p.expire[key] = until
			}
			continue
		}
		if len(p.expire) >= model.MaxPins {
			p.makeRoom(now)
		}
		p.expire[key] = until
		p.names[addr] = append(p.names[addr], name)
	}
}

// makeRoom forgets what has expired, or else what expires first.
func (p *Pins) makeRoom(now time.Time) {
	var first pin
	var at time.Time
	for key, until := range p.expire {
		if !until.After(now) {
			p.forget(key)
		} else if at.IsZero() || until.Before(at) {
			first, at = key, until
		}
	}
	if len(p.expire) >= model.MaxPins {
		p.forget(first)
	}
}

func (p *Pins) forget(key pin) {
	delete(p.expire, key)
	var left []string
	for _, name := range p.names[key.addr] {
		if name != key.name {
			left = append(left, name)
		}
	}
	if left == nil {
		delete(p.names, key.addr)
	} else {
		p.names[key.addr] = left
	}
}

// Names returns the names that stand for addr now.
func (p *Pins) Names(addr netip.Addr, now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for _, name := range p.names[addr] {
		if p.expire[pin{addr, name}].After(now) {
			names = append(names, name)
		}
	}
	return names
}

// Pinned is what a name stands for.
type Pinned struct {
	Name      string
	Addresses []netip.Addr
	Left      time.Duration // the shortest of them
}

// List returns what is remembered now.
func (p *Pins) List(now time.Time) []Pinned {
	p.mu.Lock()
	defer p.mu.Unlock()
	by := map[string]*Pinned{}
	for key, until := range p.expire {
		left := until.Sub(now)
		if left <= 0 {
			continue
		}
		if by[key.name] == nil {
			by[key.name] = &Pinned{Name: key.name, Left: left}
		}
		by[key.name].Addresses = append(by[key.name].Addresses, key.addr)
		by[key.name].Left = min(by[key.name].Left, left)
	}
	var all []Pinned
	for _, pinned := range by {
		all = append(all, *pinned)
	}
	return all
}
