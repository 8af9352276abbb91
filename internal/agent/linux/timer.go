package linux

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// usualTimerMult is what a kernel that measured the processor's timer without a disturbance finds on the machines that we
// run on: ticks per nanosecond, times 2^32. QEMU's and KVM's local APIC count at 1 GHz, and Linux divides that by 16.
const usualTimerMult = 1 << 32 / 16

// The kernel's words about its timers.
const (
	timerList   = "/proc/timer_list"
	timerDevice = "/sys/devices/system/clockevents/clockevent0/current_device"
)

// measuredRate is timerRate of this machine. The list is long, and made for each reader: a first processor that goes by the
// time stamp counter, which nobody measures again, needs none.
func measuredRate() float64 {
	if device, err := os.ReadFile(timerDevice); err == nil && strings.TrimSpace(string(device)) == "lapic-deadline" {
		return 0
	}
	return timerRate(timerList)
}

// timerRate reads in the kernel's own words, a list as timerList, at what rate it takes the processor's timer to run, and
// returns that over the true rate. Above 1 every timer is late by as much. Below it timers fire early and are set again,
// which costs time only, and below a thousandth the kernel uses none and a guest that waits waits for ever. It is 0 where
// the timer is of another kind, which needs no measuring.
//
// Linux measures the timer once, early in its boot, over 25 ticks by the time stamp counter (calibrate_APIC_clock), and no
// parameter takes the place of that. A vCPU that the host does not run for a part of those 100 ms measures too little when
// it was before the first tick, too much when it was at the last. Seen with some six runnable threads for each of the
// host's processors: more than 10 % too much once in 25 boots, no timer at all once in 350.
func timerRate(list string) float64 {
	file, err := os.Open(list)
	if err != nil {
		return 0
	}
	defer file.Close()
	ours := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch value = strings.TrimSpace(value); {
		case key == "Clock Event Device":
			ours = value == "lapic"
		case ours && key == "mult":
			mult, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return 0
			}
			return float64(max(mult, 1)) / usualTimerMult
		}
	}
	return 0
}
