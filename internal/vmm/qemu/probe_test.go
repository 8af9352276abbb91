package qemu

import (
	"testing"
	"time"
)

func TestTSCIsSteady(t *testing.T) {
	t.Parallel()
	a, b := measureTSC(), measureTSC()
	if a < 100_000 || a > 20_000_000 {
		t.Fatalf("the time stamp counter runs at %d kHz", a)
	}
	if off := float64(a-b) / float64(a); off > 0.01 || off < -0.01 {
		t.Errorf("two measurements differ: %d and %d kHz", a, b)
	}
}

func TestProbeKVMGivesAReasonOrRuns(t *testing.T) {
	t.Parallel()
	start := time.Now()
	reason := probeKVM()
	t.Logf("after %s: %q", time.Since(start), reason)
	if len(reason) > 200 {
		t.Errorf("the reason is not one line: %q", reason)
	}
}

func TestAtLeast(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"7.2.22": true, "7.2": true, "8.0.0-rc1": true, "10.1": true, "7.1.9": false, "6": false, "": false, "x": false} {
		if got := atLeast(version, minVersion); got != want {
			t.Errorf("atLeast(%q) = %t", version, got)
		}
	}
}
