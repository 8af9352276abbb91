package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
)

// tendLimit is how long it may take to tend the pool.
const tendLimit = time.Minute

// pool has taps made before VMs need them, and removed after VMs had them, in the background. It knows nothing of them: the
// verbs find them by name.
type pool struct {
	verbs Verbs
	log   *slog.Logger
	tasks sync.WaitGroup
	ctx   context.Context // ends with the driver
	end   context.CancelFunc

	mu    sync.Mutex
	busy  bool // somebody tends it
	again bool // since that began, something was changed
}

func newPool(verbs Verbs, log *slog.Logger) *pool {
	p := &pool{verbs: verbs, log: log}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

// tend has the pool tended, after a VM got a tap or gave one back. It returns at once.
func (p *pool) tend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	if p.busy {
		p.again = true
		return
	}
	p.busy = true
	p.tasks.Go(func() {
		for again := true; again; again = p.more() {
			ctx, cancel := context.WithTimeout(p.ctx, tendLimit)
			crash.At("bridge.pool.before")
			err := p.verbs.Prepare(ctx)
			crash.At("bridge.pool.prepared")
			err = errors.Join(err, p.verbs.Recycle(ctx))
			crash.At("bridge.pool.after")
			cancel()
			// Who may not has no VMs on the bridge; who is told to end leaves the rest to the next daemon.
			if err != nil && p.ctx.Err() == nil && !errors.Is(err, model.ErrDenied) {
				p.log.Warn("taps that no VM has are not made or removed", "error", err)
			}
		}
	})
}

// more says whether to go on.
func (p *pool) more() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = p.again && p.ctx.Err() == nil
	p.again = false
	return p.busy
}

func (p *pool) close() {
	p.mu.Lock()
	p.end()
	p.mu.Unlock()
	p.tasks.Wait()
}
