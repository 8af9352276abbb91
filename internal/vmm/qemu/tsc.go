package qemu

import "time"

// rdtsc reads the processor's time stamp counter.
func rdtsc() uint64

// tscWindow is how long the counter is measured: clock readings are good to some 50 ns, so the rate is to 3 parts in a
// million, less than an undisciplined crystal is off.
const tscWindow = 20 * time.Millisecond

// MeasureTSC returns the rate of the host's time stamp counter in kHz. No file tells an ordinary user: /proc/cpuinfo has
// the core's momentary speed, the processor's own leaf is empty on most, and what the host's kernel found out it prints
// where only root reads. So it is measured against the monotonic clock, once per boot.
func MeasureTSC() int {
	ticks, at := sampleTSC()
	time.Sleep(tscWindow)
	ticks2, at2 := sampleTSC()
	return int(float64(ticks2-ticks) / float64(at2.Sub(at)) * 1e6)
}

// sampleTSC reads both clocks together: of several tries the one in which least time passed between the two readings of
// the counter, so that being preempted does no harm.
func sampleTSC() (ticks uint64, at time.Time) {
	best := ^uint64(0)
	for range 50 {
		before := rdtsc()
		now := time.Now()
		after := rdtsc()
		if took := after - before; took < best {
			best, ticks, at = took, before+took/2, now
		}
	}
	return ticks, at
}
