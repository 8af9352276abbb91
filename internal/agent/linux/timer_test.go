package linux

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTimerRate(t *testing.T) {
	t.Parallel()
	const head = "Timer List Version: v0.9\ncpu: 0\n  .resolution:     1 nsecs\n\nTick Device: mode:     1\nBroadcast device\n" +
		"Clock Event Device: <NULL>\ntick_broadcast_mask: 0\n\nTick Device: mode:     1\nPer CPU device: 0\n"
	for name, c := range map[string]struct {
		list string
		want float64
	}{
		"right":        {head + "Clock Event Device: lapic\n max_delta_ns:   34359738385\n mult:           268435456\n shift:          32\n", 1},
		"late":         {head + "Clock Event Device: lapic\n mult:           402653184\n", 1.5},
		"none":         {head + "Clock Event Device: lapic\n mult:           0\n", 1. / (1 << 28)},
		"another kind": {head + "Clock Event Device: lapic-deadline\n mult:           11162345\n", 0},
		"no number":    {head + "Clock Event Device: lapic\n mult:           many\n", 0},
		"empty":        {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := filepath.Join(t.TempDir(), "timer_list")
			if err := os.WriteFile(list, []byte(c.list), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := timerRate(list); got != c.want {
				t.Errorf("the rate is %v, not %v", got, c.want)
			}
		})
	}
	if got := timerRate(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("without a list it is %v", got)
	}
}
