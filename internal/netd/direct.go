package netd

import (
	"net/netip"

	netdv1 "banger/api/netd/v1"
	"banger/internal/model"
	"banger/internal/netd/port"
)

// direct is a VM whose packets the host's kernel carries. It has no name here that others resolve, and no address.
type direct struct {
	guest     *port.Direct
	listeners []*port.Listener
}

// Publication is what is published of such a VM.
type Publication struct {
	ID, Name string
	Address  netip.Addr // of the guest
	Forwards []port.Forward
}

// publicationOf checks a description. Its errors are of kind ErrInvalid.
func publicationOf(m *netdv1.Port) (Publication, error) {
	p := Publication{ID: m.GetVmId(), Name: m.GetName()}
	if p.ID == "" {
		return p, model.Errorf(model.ErrInvalid, "cannot publish ports without a VM's id")
	}
	if err := model.ValidateName("VM", p.Name); err != nil {
		return p, err
	}
	var err error
	if p.Address, err = netip.ParseAddr(m.GetAddress()); err != nil || !model.GuestRange().Contains(p.Address) {
		return p, model.Errorf(model.ErrInvalid, "cannot use %q as a VM's address: it is not of %s", m.GetAddress(), model.GuestRange())
	}
	if m.GetSocket() != "" || len(m.GetMac()) > 0 || m.GetGateway() != "" || m.GetMtu() != 0 || m.GetPolicy() != "" || len(m.GetHostPorts()) > 0 || m.GetTap() != nil {
		return p, model.Errorf(model.ErrInvalid, "cannot carry the packets of %s: the host's kernel does", p.Name)
	}
	p.Forwards, err = forwardsOf(m)
	return p, err
}

// Publish makes the ports of a VM on the host those that are wanted, and returns them in that order, with the host's ports
// that were taken. When it fails, nothing has changed.
func (n *Network) Publish(p Publication) ([]port.Forward, error) {
	n.change.Lock()
	defer n.change.Unlock()
	n.mu.RLock()
	old, carried := n.directs[p.ID], n.ports[p.ID] != nil
	n.mu.RUnlock()
	if carried {
		return nil, model.Errorf(model.ErrInvalid, "cannot publish ports of %s by the host's kernel: its packets are carried here", p.Name)
	}
	var listeners []*port.Listener
	if old != nil {
		listeners = old.listeners
	}
	plan, err := port.PlanForwards(listeners, p.Forwards)
	if err != nil {
		return nil, err
	}
	e := &direct{}
	if old != nil && old.guest.Address() == p.Address {
		e.guest = old.guest
		e.guest.Rename(p.Name)
	} else {
		e.guest = port.NewDirect(n.env, p.Name, p.Address)
	}
	e.listeners = plan.DoDirect(e.guest)
	n.mu.Lock()
	n.directs[p.ID] = e
	count := n.count()
	n.mu.Unlock()
	n.changed(count)
	if old != nil && old.guest != e.guest {
		old.guest.Close()
	}
	var taken []port.Forward
	for _, l := range e.listeners {
		taken = append(taken, l.Forward())
	}
	return taken, nil
}

// clearDirect publishes nothing of a VM any more. The caller holds the change.
func (n *Network) clearDirect(id string) {
	n.mu.Lock()
	e := n.directs[id]
	delete(n.directs, id)
	count := n.count()
	n.mu.Unlock()
	if e == nil {
		return
	}
	for _, l := range e.listeners {
		l.Close()
	}
	e.guest.Close()
	n.changed(count)
}

// count is how many VMs there are. The caller holds the tables.
func (n *Network) count() int { return len(n.ports) + len(n.directs) }
