package qemu

import (
	"fmt"

	"banger/internal/model"
	"banger/internal/vmm"
)

// cmdline is the kernel's, with what this machine needs beyond what every guest is told.
func cmdline(c vmm.Config, h Host) (string, error) {
	words := []string{"console=ttyS0"}
	if h.Accel == "tcg" {
		if h.TSCKHz <= 0 {
			return "", model.Errorf(model.ErrInvalid, "cannot emulate a VM without the rate of the host's clock")
		}
		words = append(words, EmulatedClock(h.TSCKHz)...)
	}
	return c.CommandLine(words...)
}

// EmulatedClock are the parameters that keep a guest's kernel under TCG from measuring the clock, whose rate is given.
func EmulatedClock(tscKHz int) []string {
	return []string{
		// TCG's counter is the host's. The guest must not measure its rate, nor the delay loop: a vCPU preempted in
		// the middle of that hangs the boot (26 of 26 with a busy core, 0 of 13 so). lpj counts per tick, here for the
		// 250 Hz of Debian and Ubuntu; a faster tick only makes delays longer.
		fmt.Sprintf("tsc_early_khz=%d", tscKHz),
		fmt.Sprintf("lpj=%d", int64(tscKHz)*1000/250),
		// TCG's processor calls itself an AMD without an invariant counter, which the guest distrusts once it has two
		// of them. It would then have only the 4 ms tick for a clock, no finer timers, and wake 250 times a second
		// when idle.
		"tsc=reliable",
	}
}
