package netd

import (
	"sync"
	"time"
)

// Life ends a netd that nobody needs: one without VMs that nobody holds, once that has lasted for a while.
type Life struct {
	grace time.Duration
	end   func()

	mu    sync.Mutex
	holds int
	ports int
	timer *time.Timer // runs while nobody needs us
}

// NewLife returns a Life that nobody holds yet, so that it ends unless somebody comes.
func NewLife(grace time.Duration, end func()) *Life {
	l := &Life{grace: grace, end: end}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle()
	return l
}

// Hold keeps netd alive until release.
func (l *Life) Hold() (release func()) {
	l.add(1)
	return sync.OnceFunc(func() { l.add(-1) })
}

func (l *Life) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds += n
	l.settle()
}

// Ports tells how many VMs are carried.
func (l *Life) Ports(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports = n
	l.settle()
}

func (l *Life) settle() {
	needed := l.holds > 0 || l.ports > 0
	switch {
	case needed && l.timer != nil:
		l.timer.Stop()
		l.timer = nil
	case !needed && l.timer == nil:
		var timer *time.Timer
		timer = time.AfterFunc(l.grace, func() {
			l.mu.Lock()
			over := l.timer == timer // nobody has come since
			l.mu.Unlock()
			if over {
				l.end()
			}
		})
		l.timer = timer
	}
}

// Stop ends the waiting.
func (l *Life) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}
