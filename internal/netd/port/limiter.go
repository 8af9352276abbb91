package port

import "sync/atomic"

// limiter counts what is held at one time.
type limiter struct {
	most int64
	held *atomic.Int64
}

func newLimiter(most int) limiter { return limiter{most: int64(most), held: new(atomic.Int64)} }

// take says whether one more may be held; then give has to follow.
func (l limiter) take() bool {
	if l.held.Add(1) > l.most {
		l.held.Add(-1)
		return false
	}
	return true
}

func (l limiter) give() { l.held.Add(-1) }
