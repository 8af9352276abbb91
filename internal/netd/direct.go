package netd

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"banger/internal/egress"
	"banger/internal/model"
	"banger/internal/netd/port"
)

// direct is a VM whose packets the host's kernel carries.
type direct struct {
	guest     *port.Direct
	listeners []*port.Listener
}

// Publication is what there is to be here of such a VM.
type Publication struct {
	port.Config
	Forwards []port.Forward
	Doors    map[uint16]uint16 // where the doors were, by the ports that guests use
}

// Published is where it is.
type Published struct {
	Forwards []port.Forward    // in the order wanted
	Doors    map[uint16]uint16 // by the ports that guests use
}

// doorOf is what a door is for.
type doorOf struct {
	gateway netip.Addr
	port    uint16
}

// doors are those that a VM may use.
func doorsOf(c *port.Config) []doorOf {
	if c.Policy.Kind == model.KindNone {
		return nil
	}
	doors := []doorOf{{c.Gateway, port.DNS}}
	for _, p := range slices.Sorted(maps.Keys(c.HostPorts)) {
		if p != port.DNS { // which is asked for names, whatever else there is on the host
			doors = append(doors, doorOf{c.Gateway, p})
		}
	}
	return doors
}

// Publish makes a VM's ports on the host, its policy, and the doors that it may use those that are wanted. When it fails,
// nothing has changed.
func (n *Network) Publish(p Publication) (Published, error) {
	n.change.Lock()
	defer n.change.Unlock()
	n.mu.RLock()
	old, carried, owner := n.directs[p.ID], n.ports[p.ID] != nil, n.atDirect[p.Address]
	n.mu.RUnlock()
	if carried {
		return Published{}, model.Errorf(model.ErrInvalid, "cannot publish ports of %s by the host's kernel: its packets are carried here", p.Name)
	}
	if owner != nil && owner.ID() != p.ID {
		return Published{}, model.Errorf(model.ErrExists, "cannot give %s the address %s: VM %s has it", p.Name, p.Address, owner.Name())
	}
	var listeners []*port.Listener
	if old != nil {
		listeners = old.listeners
	}
	plan, err := port.PlanForwards(listeners, p.Forwards)
	if err != nil {
		return Published{}, err
	}
	opened, err := n.openDoors(doorsOf(&p.Config), p.Doors)
	if err != nil {
		plan.Undo()
		return Published{}, err
	}
	e := &direct{}
	if old != nil && old.guest.Identity() == p.Identity {
		e.guest = old.guest
		e.guest.Change(p.Config)
	} else {
		e.guest = port.NewDirect(n.env, p.Config)
	}
	e.listeners = plan.DoDirect(e.guest)
	n.mu.Lock()
	if old != nil {
		delete(n.atDirect, old.guest.Identity().Address)
	}
	n.directs[p.ID], n.atDirect[p.Address] = e, e.guest
	count := n.count()
	n.mu.Unlock()
	maps.Copy(n.doors, opened)
	n.changed(count)
	if old != nil && old.guest != e.guest {
		old.guest.Close()
	}
	n.closeDoors()
	return n.published(e, doorsOf(&p.Config)), nil
}

// Remind has the host's kernel know what a VM knows of names that its policy lists. It may take a while.
func (n *Network) Remind(ctx context.Context, id string) {
	n.mu.RLock()
	e := n.directs[id]
	n.mu.RUnlock()
	if e != nil {
		e.guest.Remind(ctx)
	}
}

func (n *Network) published(e *direct, doors []doorOf) Published {
	p := Published{Doors: map[uint16]uint16{}}
	for _, l := range e.listeners {
		p.Forwards = append(p.Forwards, l.Forward())
	}
	for _, of := range doors {
		p.Doors[of.port] = n.doors[of].At()
	}
	return p
}

// openDoors opens those of the doors that are not open, where they were before if that is free. The caller holds the change.
func (n *Network) openDoors(doors []doorOf, were map[uint16]uint16) (map[doorOf]*port.Door, error) {
	opened := map[doorOf]*port.Door{}
	for _, of := range doors {
		if n.doors[of] != nil {
			continue
		}
		d, err := port.OpenDoor(of.gateway, of.port, were[of.port], func(addr netip.Addr) *port.Direct { return n.behind(of.gateway, addr) })
		if err != nil {
			for _, d := range opened {
				d.Close()
			}
			return nil, err
		}
		opened[of] = d
	}
	return opened, nil
}

// closeDoors closes those that no VM may use. The caller holds the change.
func (n *Network) closeDoors() {
	used := map[doorOf]bool{}
	n.mu.RLock()
	for _, e := range n.directs {
		for _, of := range doorsOf(e.guest.Config()) {
			used[of] = true
		}
	}
	n.mu.RUnlock()
	for of, d := range n.doors {
		if !used[of] {
			delete(n.doors, of)
			d.Close()
		}
	}
}

// behind returns the VM that has an address, and that gateway.
func (n *Network) behind(gateway, addr netip.Addr) *port.Direct {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if d := n.atDirect[addr]; d != nil && d.Identity().Gateway == gateway {
		return d
	}
	return nil
}

// directPeer returns the VM at an address that shares a group with self.
func (n *Network) directPeer(self *port.Direct, addr netip.Addr) *port.Direct {
	n.mu.RLock()
	other := n.atDirect[addr]
	n.mu.RUnlock()
	if other == nil || other == self || !self.SharesGroup(other) {
		return nil
	}
	return other
}

// directNamed returns the VM of a name that shares a group with self.
func (n *Network) directNamed(self *port.Direct, name string) *port.Direct {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, e := range n.directs {
		if e.guest != self && e.guest.Name() == name && self.SharesGroup(e.guest) {
			return e.guest
		}
	}
	return nil
}

// clearDirect takes away what there is of a VM. The caller holds the change.
func (n *Network) clearDirect(id string) {
	n.mu.Lock()
	e := n.directs[id]
	delete(n.directs, id)
	if e != nil {
		delete(n.atDirect, e.guest.Identity().Address)
	}
	count := n.count()
	n.mu.Unlock()
	if e == nil {
		return
	}
	for _, l := range e.listeners {
		l.Close()
	}
	e.guest.Close()
	n.closeDoors()
	n.changed(count)
}

// count is how many VMs there are. The caller holds the tables.
func (n *Network) count() int { return len(n.ports) + len(n.directs) }

// vm is one of either kind.
type vm interface {
	Denials() []egress.Denial
	Explain(refused []egress.Denial) []egress.Denial
	Check(ctx context.Context, destination string) (egress.Verdict, []netip.Addr, error)
}

func (n *Network) find(id string) (vm, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if e := n.ports[id]; e != nil {
		return e.port, nil
	}
	if e := n.directs[id]; e != nil {
		return e.guest, nil
	}
	return nil, model.Errorf(model.ErrNotFound, "VM %s has no port on the network", id)
}
