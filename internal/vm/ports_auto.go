package vm

import (
	"context"
	"errors"
	"slices"
	"time"

	"banger/internal/model"
	"banger/internal/network"
)

const (
	// maxAuto is how many ports of a VM appear by themselves: a guest can listen on many more.
	maxAuto = 64
	// autoRest is the least time between two changes that a guest's listeners cause.
	autoRest = 200 * time.Millisecond
	// maxRetry is the longest wait before a guest that does not tell its listeners is asked again.
	maxRetry = time.Minute
)

// followPorts has the ports of a running VM follow the guest's listeners, where that was asked for.
func (s *Service) followPorts(e *entry, v model.VM) {
	l := e.current()
	if !v.Spec.PortsAuto || l == nil || !e.currentLink().Address.IsValid() {
		return
	}
	if d, err := s.network(v.Network); err != nil || !direct(d) && !d.Carries(network.Wants{Policy: v.Spec.Network, Ports: true}) {
		return // it publishes none
	}
	s.wg.Go(func() {
		for pause := time.Second; ; pause = min(2*pause, maxRetry) {
			begin := time.Now()
			again := s.watchGuest(e, l)
			if time.Since(begin) > maxRetry {
				pause = time.Second
			}
			if again {
				continue
			}
			select {
			case <-time.After(pause):
			case <-l.machine.Done():
				return
			case <-s.ctx.Done():
				return
			}
		}
	})
}

// watchGuest follows the listeners over one connection, until that ends; again says that it ended because somebody began
// or ceased to wait for them.
func (s *Service) watchGuest(e *entry, l *live) (again bool) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	eager, changed := e.watched()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		select {
		case <-changed:
			again = true
		case <-l.machine.Done():
		case <-ctx.Done():
		}
		cancel()
	}()
	dialing, stop := context.WithTimeout(ctx, dialLimit)
	g, err := l.connect(dialing)
	stop()
	if err == nil {
		err = g.WatchPorts(ctx, eager, func(listening []uint16) error {
			if err := s.follow(ctx, e, l, listening); err != nil {
				return err
			}
			// A guest that changes its mind all the time waits, and its words with it.
			select {
			case <-time.After(autoRest):
			case <-ctx.Done():
			}
			return ctx.Err()
		})
	}
	if err != nil && ctx.Err() == nil && !s.ends(ctx, e, l) {
		s.Log.Warn("cannot follow a guest's listeners", "vm", string(e.id), "error", err)
	}
	cancel()
	<-watch
	return again
}

// ends says whether a VM's guest went away because the VM is being ended, or has ended.
func (s *Service) ends(ctx context.Context, e *entry, l *live) bool {
	if v, err := s.Store.VM(ctx, e.id); err != nil || (v.State != model.StateRunning && v.State != model.StatePaused) {
		return true
	}
	return l.hasEnded()
}

// follow makes the automatic ports those of the guest's listeners.
func (s *Service) follow(ctx context.Context, e *entry, l *live, listening []uint16) error {
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.unlock()
	if e.current() != l {
		return nil
	}
	e.listening = listening
	return s.followAgain(ctx, e)
}

// followAgain makes the automatic ports those of the listeners that the guest told last: it tells them once, and does not
// know that a published port was in the place of one and is gone. The caller holds the lock.
func (s *Service) followAgain(ctx context.Context, e *entry) error {
	v, err := s.Store.VM(ctx, e.id)
	if err != nil || (v.State != model.StateRunning && v.State != model.StatePaused) || !v.Spec.PortsAuto {
		return err
	}
	d, err := s.network(v.Network)
	if err != nil {
		return err
	}
	before := e.currentPorts()
	if link := e.currentLink(); direct(d) {
		if after := directPorts(before, link.Address.Addr(), e.listening); !slices.Equal(before, after) {
			e.setLink(link, after)
			e.notify()
		}
		return nil
	}
	after := followed(before, e.listening, func(f model.PortForward) bool { return tryPort(f) == nil })
	if slices.Equal(before, after) {
		return nil
	}
	err = s.applyLink(ctx, e, d, v, after)
	if errors.Is(err, model.ErrExists) {
		// One of them was taken in this moment: any free ones will do.
		for i, p := range after {
			if p.Auto && !slices.Contains(before, p) {
				after[i].HostPort = 0
			}
		}
		err = s.applyLink(ctx, e, d, v, after)
	}
	return err
}

// followed returns the ports that belong to the guest's listeners: those that were asked for stay, automatic ones come and
// go. One that comes gets its own number on the host where free says so, else any.
func followed(ports []model.Port, listening []uint16, free func(model.PortForward) bool) []model.Port {
	var after []model.Port
	served := map[uint16]bool{}
	for _, p := range ports {
		if p.Auto && !slices.Contains(listening, p.GuestPort) {
			continue
		}
		after = append(after, p)
		served[p.GuestPort] = served[p.GuestPort] || !p.UDP
	}
	auto := 0
	for _, p := range after {
		if p.Auto {
			auto++
		}
	}
	for _, port := range listening {
		if served[port] || auto == maxAuto || len(after) == model.MaxPorts {
			continue
		}
		served[port] = true
		auto++
		f := model.PortForward{HostIP: model.Loopback(), HostPort: port, GuestPort: port}
		if port < firstUnprivileged || holds(after, f) || !free(f) {
			f.HostPort = 0
		}
		after = append(after, model.Port{PortForward: f, Auto: true})
	}
	return after
}

// watched says whether somebody waits for changes of the VM's ports, and has a channel that is closed when that changes.
func (e *entry) watched() (bool, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.watchers > 0, e.eager
}

func (e *entry) addWatcher(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	had := e.watchers > 0
	e.watchers += n
	if had != (e.watchers > 0) {
		close(e.eager)
		e.eager = make(chan struct{})
	}
}

// WatchPorts calls report with the ports of a running VM, at once and again after each change, until the VM no longer runs
// or ctx ends, whose error is returned. Meanwhile the guest's listeners are looked at closely.
func (s *Service) WatchPorts(ctx context.Context, id model.VMID, report func([]model.Port) error) error {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return err
	}
	if v.State != model.StateRunning {
		return stateError("watch the ports of", v)
	}
	e := s.entry(id)
	e.addWatcher(1)
	defer e.addWatcher(-1)
	var told []model.Port
	for first := true; ; first = false {
		changed := e.change()
		v, err := s.Store.VM(ctx, id)
		if errors.Is(err, model.ErrNotFound) || err == nil && v.State != model.StateRunning {
			return nil
		}
		if err != nil {
			return err
		}
		if now := s.nameHosts(v, e.currentPorts()); first || !slices.Equal(now, told) {
			if err := report(now); err != nil {
				return err
			}
			told = now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
