package port

import "slices"

// Plan is a change of a VM's forwards that is ready to be made: whatever can fail has been done.
type Plan struct {
	listeners []*Listener // in the order wanted
	wanted    []Forward
	opened    []*Listener
	closing   []*Listener
}

// PlanForwards takes the host's ports that want needs and old does not have. A port that stays is never let go.
func PlanForwards(old []*Listener, want []Forward) (*Plan, error) {
	plan := &Plan{wanted: want, closing: slices.Clone(old), listeners: make([]*Listener, len(want))}
	// What is wanted by its number first: one that may be anywhere must not take its place.
	for i, f := range want {
		if f.HostPort != 0 {
			plan.listeners[i] = plan.keep(f)
		}
	}
	for i, f := range want {
		if f.HostPort == 0 {
			plan.listeners[i] = plan.keep(f)
		}
		if plan.listeners[i] != nil {
			continue
		}
		l, err := listen(f)
		if err != nil {
			plan.Undo()
			return nil, err
		}
		plan.opened = append(plan.opened, l)
		plan.listeners[i] = l
	}
	return plan, nil
}

// keep takes an old listener over: the one on the host's port that f wants, or, where any will do, one that leads to the
// same port of the guest.
func (p *Plan) keep(f Forward) *Listener {
	for i, l := range p.closing {
		other := l.Forward()
		if other.HostIP != f.HostIP || other.UDP != f.UDP {
			continue
		}
		if f.HostPort == other.HostPort || f.HostPort == 0 && f.GuestPort == other.GuestPort {
			p.closing = slices.Delete(p.closing, i, i+1)
			return l
		}
	}
	return nil
}

// Undo gives back what was taken.
func (p *Plan) Undo() {
	for _, l := range p.opened {
		l.Close()
	}
}

// Do makes the change, for the VM at port, and returns all its listeners.
func (p *Plan) Do(port *Port) []*Listener { return p.lead(port) }

// DoDirect likewise, for a VM whose packets the host's kernel carries.
func (p *Plan) DoDirect(d *Direct) []*Listener { return p.lead(d) }

func (p *Plan) lead(g guest) []*Listener {
	for _, l := range p.closing {
		l.Close()
	}
	for i, l := range p.listeners {
		l.lead(g, p.wanted[i].GuestPort)
	}
	return p.listeners
}
