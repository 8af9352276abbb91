package port

import (
	"sync/atomic"
	"time"
)

// idle calls over once nothing was touched for a while: first, as long as it was touched once; stream after that. Its
// timer is set again only when it fires, not by each packet.
type idle struct {
	first, stream time.Duration
	began         time.Time
	touched       atomic.Int64 // since began
	touches       atomic.Int64
	timer         *time.Timer
}

func newIdle(first, stream time.Duration, over func()) *idle {
	i := &idle{first: first, stream: stream, began: time.Now()}
	ready := make(chan struct{})
	i.timer = time.AfterFunc(first, func() {
		<-ready
		if left := i.limit() - (time.Since(i.began) - time.Duration(i.touched.Load())); left > 0 {
			i.timer.Reset(left)
			return
		}
		over()
	})
	close(ready)
	return i
}

func (i *idle) limit() time.Duration {
	if i.touches.Load() > 2 {
		return i.stream
	}
	return i.first
}

func (i *idle) touch() {
	i.touched.Store(int64(time.Since(i.began)))
	i.touches.Add(1)
}

func (i *idle) stop() { i.timer.Stop() }
