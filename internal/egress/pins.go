package egress

import (
	"net/netip"
	"sync"
	"time"
)

// The life of a pin follows the answer's own, within these bounds: programs use an address a little longer than they
// should, and no name may hold one for ever.
const (
	minPin = 60 * time.Second
	maxPin = time.Hour
)

// maxPins caps the pairs of address and name of one VM.
const maxPins = 4096

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

// Add remembers that name stands for addrs.
func (p *Pins) Add(name string, addrs []netip.Addr, ttl time.Duration, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.expire == nil {
		p.expire, p.names = map[pin]time.Time{}, map[netip.Addr][]string{}
	}
	until := now.Add(min(max(ttl, minPin), maxPin))
	for _, addr := range addrs {
		key := pin{addr, name}
		if old, known := p.expire[key]; known {
			if until.After(old) {
				p.expire[key] = until
			}
			continue
		}
		if len(p.expire) >= maxPins {
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
	if len(p.expire) >= maxPins {
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
