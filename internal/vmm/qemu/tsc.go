package qemu

import "time"

// readTSC returns the host's time stamp counter.
func readTSC() uint64

// tscInterval is long enough that what a clock read takes, some 50 ns, is one part in 200,000 of it.
const tscInterval = 10 * time.Millisecond

// measureTSC returns the frequency of the time stamp counter in kHz. An ordinary user is told it by no file that every
// host has, so it is counted against the monotonic clock; the best of three pairs is the one whose clock reads were least
// disturbed.
func measureTSC() int64 {
	var khz int64
	best := time.Duration(1<<63 - 1)
	for range 3 {
		beforeStart := time.Now()
		first := readTSC()
		slackStart := time.Since(beforeStart)
		time.Sleep(tscInterval)
		beforeEnd := time.Now()
		last := readTSC()
		slack := max(slackStart, time.Since(beforeEnd))
		if slack < best {
			best = slack
			khz = int64(float64(last-first) / float64(beforeEnd.Sub(beforeStart)) * 1e6)
		}
	}
	return khz
}
