package vm

import (
	"context"
	"sync"
	"time"

	"banger/internal/guest"
	"banger/internal/logfile"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// entry is what the service remembers of one VM between calls. Losing it loses nothing: it is a cache over the host.
type entry struct {
	id model.VMID

	// lock is held while the host is changed for this VM, and never over a guest's answer or a download. It is a
	// channel so that waiting for it can be given up.
	lock chan struct{}

	// project is held while the VM's workspace is copied, compared or applied, also over a guest's answers. Who holds lock
	// waits for it only while there is a journal: then its holder writes to the host and asks no guest.
	project chan struct{}

	listening []uint16 // what the guest told last of its listeners; whoever holds lock may use it

	mu      sync.Mutex // guards what follows, for moments only
	handles model.Handles
	live    *live
	link    network.Link // of the VMM that lives
	ports   []model.Port // in force
	problem string       // why this daemon cannot steer a VMM that lives, or ""
	holders int          // of its lease
	expiry  *time.Timer  // deletes a leased VM without holders
	changed chan struct{}

	watchers int           // of its ports
	eager    chan struct{} // closed and replaced when there is a first watcher, or none any more
}

// live is a VMM that lives, as this process sees it.
type live struct {
	machine vmm.Machine
	console *logfile.File

	dialing chan struct{} // held while a connection to the agent is made
	mu      sync.Mutex
	guest   *guest.Guest
}

func (s *Service) entry(id model.VMID) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		e = &entry{id: id, lock: make(chan struct{}, 1), project: make(chan struct{}, 1), changed: make(chan struct{}), eager: make(chan struct{})}
		s.entries[id] = e
	}
	return e
}

func (s *Service) forget(id model.VMID) {
	s.mu.Lock()
	delete(s.entries, id)
	s.mu.Unlock()
}

// acquire takes the VM's lock, or fails when ctx ends first.
func (e *entry) acquire(ctx context.Context) error {
	select {
	case e.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return model.Errorf(model.ErrCanceled, "gave up waiting for other work on the VM: %w", context.Cause(ctx))
	}
}

func (e *entry) unlock() { <-e.lock }

func (e *entry) current() *live {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.live
}

func (e *entry) setLive(l *live) {
	e.mu.Lock()
	e.live = l
	e.mu.Unlock()
}

func (e *entry) setProblem(text string) {
	e.mu.Lock()
	e.problem = text
	e.mu.Unlock()
}

// notify wakes whoever waits for a change of the VM's state.
func (e *entry) notify() {
	e.mu.Lock()
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
}

func (e *entry) change() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// release lets go of the VM's process without disturbing it.
func (e *entry) release() {
	e.mu.Lock()
	l := e.live
	e.live = nil
	if e.expiry != nil {
		e.expiry.Stop()
	}
	e.mu.Unlock()
	if l != nil {
		l.close()
	}
}

func (l *live) close() {
	l.mu.Lock()
	g := l.guest
	l.guest = nil
	l.mu.Unlock()
	if g != nil {
		g.Close()
	}
	l.machine.Close()
}

// connect returns the connection to the VM's agent, making one where there is none or the last one broke.
func (l *live) connect(ctx context.Context) (*guest.Guest, error) {
	if g := l.connected(); g != nil {
		return g, nil
	}
	select {
	case l.dialing <- struct{}{}:
		defer func() { <-l.dialing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if g := l.connected(); g != nil {
		return g, nil
	}
	// A VMM that dies ends the wait for its guest.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopWatching := make(chan struct{})
	defer close(stopWatching)
	go func() {
		select {
		case <-l.machine.Done():
			cancel(model.Errorf(model.ErrUnavailable, "%s", l.machine.Exit()))
		case <-stopWatching:
		}
	}()
	conn, err := l.machine.Agent(ctx)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	g, err := guest.Connect(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, causeOf(ctx, err)
	}
	l.mu.Lock()
	l.guest = g
	l.mu.Unlock()
	return g, nil
}

func (l *live) connected() *guest.Guest {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guest == nil {
		return nil
	}
	select {
	case <-l.guest.Done():
		l.guest.Close()
		l.guest = nil
	default:
	}
	return l.guest
}

// causeOf prefers why a context ended to the error that its end brought about.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
