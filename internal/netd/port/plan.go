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
	plan := &Plan{wanted: want, closing: slices.Clone(old)}
	for _, f := range want {
		l := plan.keep(f)
		if l == nil {
			var err error
			if l, err = listen(f); err != nil {
				plan.Undo()
				return nil, err
			}
			plan.opened = append(plan.opened, l)
		}
		plan.listeners = append(plan.listeners, l)
	}
	return plan, nil
}

// keep takes an old listener over that is on the host's port that f wants: one for the same port of the guest if there is.
func (p *Plan) keep(f Forward) *Listener {
	best := -1
	for i, l := range p.closing {
		other := l.wanted
		if other.HostIP == f.HostIP && other.HostPort == f.HostPort && other.UDP == f.UDP {
			if other.GuestPort == f.GuestPort {
				best = i
				break
			}
			if best < 0 && f.HostPort != 0 {
				best = i
			}
		}
	}
	if best < 0 {
		return nil
	}
	l := p.closing[best]
	p.closing = slices.Delete(p.closing, best, best+1)
	return l
}

// Undo gives back what was taken.
func (p *Plan) Undo() {
	for _, l := range p.opened {
		l.Close()
	}
}

// Do makes the change, for the VM at port, and returns all its listeners.
func (p *Plan) Do(port *Port) []*Listener {
	for _, l := range p.closing {
		l.Close()
	}
	for i, l := range p.listeners {
		l.lead(port, p.wanted[i].GuestPort)
	}
	return p.listeners
}
