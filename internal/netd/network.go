// Package netd is the user-mode network of all VMs of an installation, as banger-netd serves it.
//
// It holds what the daemon told it last and nothing else. Each VM has a port of its own (package port); here is who they
// are to each other. Of a VM whose packets the host's kernel carries it has the published ports, the names
// and what leads to the host's own ports.
package netd

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"banger/internal/egress"
	"banger/internal/model"
	"banger/internal/netd/port"
	"banger/internal/netd/tap"
)

// Network is the ports of all VMs.
type Network struct {
	env     port.Env
	changed func(ports int) // told how many there are

	change sync.Mutex // one change at a time

	mu      sync.RWMutex // of the tables; nothing else is done while it is held
	ports   map[string]*entry
	byAddr  map[netip.Addr]*port.Port
	directs map[string]*direct
	// The same by their addresses.
	atDirect map[netip.Addr]*port.Direct

	doors map[doorOf]*port.Door // guarded by change
}

type entry struct {
	port      *port.Port
	listeners []*port.Listener
	// Of a VMM that does not listen on a socket itself:
	told    told        // whose tap it is to have
	tap     *tap.Bridge // nil as long as nobody has handed it over
	carried told        // whose it has
}

// New returns a network without ports. changed hears the number of ports after each change.
func New(env port.Env, changed func(ports int)) *Network {
	n := &Network{changed: changed, ports: map[string]*entry{}, byAddr: map[netip.Addr]*port.Port{}, directs: map[string]*direct{},
		atDirect: map[netip.Addr]*port.Direct{}, doors: map[doorOf]*port.Door{}}
	env.Peers, env.Named, env.DirectPeers, env.DirectNamed = n.peer, n.named, n.directPeer, n.directNamed
	n.env = env
	return n
}

// peer returns the VM at an address that shares a group with self.
func (n *Network) peer(self *port.Port, addr netip.Addr) *port.Port {
	n.mu.RLock()
	other := n.byAddr[addr]
	n.mu.RUnlock()
	if other == nil || other == self || !self.SharesGroup(other) {
		return nil
	}
	return other
}

// named returns the VM of a name that shares a group with self.
func (n *Network) named(self *port.Port, name string) *port.Port {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, e := range n.ports {
		if e.port != self && e.port.Name() == name && self.SharesGroup(e.port) {
			return e.port
		}
	}
	return nil
}

// Set makes a VM's port, or changes it to what is wanted, and returns its forwards in the order wanted, with the ports
// that were taken. When it fails, nothing has changed.
func (n *Network) Set(c port.Config, forwards []port.Forward) ([]port.Forward, error) {
	n.change.Lock()
	defer n.change.Unlock()
	n.mu.RLock()
	old, published := n.ports[c.ID], n.directs[c.ID] != nil
	owner := n.byAddr[c.Address]
	n.mu.RUnlock()
	if published {
		return nil, model.Errorf(model.ErrInvalid, "cannot carry the packets of %s: the host's kernel does", c.Name)
	}
	if owner != nil && owner.ID() != c.ID {
		return nil, model.Errorf(model.ErrExists, "cannot give %s the address %s: VM %s has it", c.Name, c.Address, owner.Name())
	}
	var listeners []*port.Listener
	if old != nil {
		listeners = old.listeners
	}
	plan, err := port.PlanForwards(listeners, forwards)
	if err != nil {
		return nil, err
	}
	if old != nil && old.port.Identity() == c.Identity {
		if err := old.port.Change(c); err != nil {
			plan.Undo()
			return nil, err
		}
		n.enter(old.port, plan.Do(old.port))
	} else {
		p, err := port.New(n.env, c)
		if err != nil {
			plan.Undo()
			return nil, err
		}
		listeners := plan.Do(p)
		n.enter(p, listeners)
		if old != nil {
			old.port.Close()
		}
		p.Start()
	}
	return n.forwards(c.ID), nil
}

func (n *Network) enter(p *port.Port, listeners []*port.Listener) {
	n.mu.Lock()
	if old := n.ports[p.ID()]; old != nil {
		delete(n.byAddr, old.port.Identity().Address)
	}
	e := &entry{port: p, listeners: listeners}
	if old := n.ports[p.ID()]; old != nil {
		e.told, e.tap, e.carried = old.told, old.tap, old.carried
	}
	n.ports[p.ID()] = e
	n.byAddr[p.Identity().Address] = p
	count := n.count()
	n.mu.Unlock()
	n.changed(count)
}

func (n *Network) forwards(id string) []port.Forward {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var list []port.Forward
	for _, l := range n.ports[id].listeners {
		list = append(list, l.Forward())
	}
	return list
}

// Clear takes a VM's port away, if there is one.
func (n *Network) Clear(id string) {
	n.change.Lock()
	defer n.change.Unlock()
	n.clear(id)
}

func (n *Network) clear(id string) {
	n.clearDirect(id)
	n.mu.Lock()
	e := n.ports[id]
	if e != nil {
		delete(n.ports, id)
		delete(n.byAddr, e.port.Identity().Address)
	}
	count := n.count()
	n.mu.Unlock()
	if e == nil {
		return
	}
	for _, l := range e.listeners {
		l.Close()
	}
	e.port.Close()
	if e.tap != nil {
		e.tap.Close()
	}
	n.changed(count)
}

// Keep takes every port away whose VM is not named.
func (n *Network) Keep(ids []string) {
	n.change.Lock()
	defer n.change.Unlock()
	keep := map[string]bool{}
	for _, id := range ids {
		keep[id] = true
	}
	n.mu.RLock()
	var gone []string
	for id := range n.ports {
		if !keep[id] {
			gone = append(gone, id)
		}
	}
	for id := range n.directs {
		if !keep[id] {
			gone = append(gone, id)
		}
	}
	n.mu.RUnlock()
	for _, id := range gone {
		n.clear(id)
	}
}

// Attachment is a VM that has a port.
type Attachment struct {
	ID, Name string
	Forwards []port.Forward
}

// List returns the VMs that have a port, by their ids.
func (n *Network) List() []Attachment {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var all []Attachment
	for id, e := range n.ports {
		a := Attachment{ID: id, Name: e.port.Name()}
		for _, l := range e.listeners {
			a.Forwards = append(a.Forwards, l.Forward())
		}
		all = append(all, a)
	}
	for id, e := range n.directs {
		a := Attachment{ID: id, Name: e.guest.Name()}
		for _, l := range e.listeners {
			a.Forwards = append(a.Forwards, l.Forward())
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Attachment) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Denied lists what a VM wanted and did not get, newest first: with what the host's kernel refused, which is explained.
func (n *Network) Denied(id string, refused []egress.Denial) ([]egress.Denial, error) {
	vm, err := n.find(id)
	if err != nil {
		return nil, err
	}
	all := append(vm.Denials(), vm.Explain(refused)...)
	slices.SortStableFunc(all, func(a, b egress.Denial) int { return b.Last.Compare(a.Last) })
	return all[:min(len(all), egress.MaxDenials)], nil
}

// Check says whether a VM may reach host:port now, what decided, and which addresses a name stands for.
func (n *Network) Check(ctx context.Context, id, destination string) (egress.Verdict, []netip.Addr, error) {
	p, err := n.find(id)
	if err != nil {
		return egress.Verdict{}, nil, err
	}
	return p.Check(ctx, destination)
}
