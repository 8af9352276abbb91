package egress

import (
	"slices"
	"sync"
	"time"
)

// MaxDenials is how many different destinations are kept per VM; beyond it the ones that were wanted longest ago are
// forgotten.
const MaxDenials = 256

// Denial is one destination that a VM wanted and did not get.
type Denial struct {
	Protocol    string // tcp, udp, icmp, dns
	Destination string
	Rule        string
	Count       uint64
	Last        time.Time
}

type denialKey struct{ protocol, destination, rule string }

// Denials are the refused destinations of one VM. The zero value is empty.
type Denials struct {
	mu   sync.Mutex
	seen map[denialKey]*Denial
}

// Add counts one refusal.
func (d *Denials) Add(protocol, destination, rule string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := denialKey{protocol, destination, rule}
	if known := d.seen[key]; known != nil {
		known.Count++
		known.Last = now
		return
	}
	if d.seen == nil {
		d.seen = map[denialKey]*Denial{}
	}
	if len(d.seen) >= MaxDenials {
		d.forgetOldest()
	}
	d.seen[key] = &Denial{Protocol: protocol, Destination: destination, Rule: rule, Count: 1, Last: now}
}

func (d *Denials) forgetOldest() {
	var oldest denialKey
	var at time.Time
	for key, denial := range d.seen {
		if at.IsZero() || denial.Last.Before(at) {
			oldest, at = key, denial.Last
		}
	}
	delete(d.seen, oldest)
}

// List returns the refusals, newest first.
func (d *Denials) List() []Denial {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Denial, 0, len(d.seen))
	for _, denial := range d.seen {
		list = append(list, *denial)
	}
	slices.SortFunc(list, func(a, b Denial) int { return b.Last.Compare(a.Last) })
	return list
}
