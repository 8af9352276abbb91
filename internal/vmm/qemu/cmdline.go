package qemu

import (
	"fmt"
	"strings"

	"banger/internal/model"
	"banger/internal/vmm"
)

// maxCmdline is what the kernel takes on x86 (COMMAND_LINE_SIZE), less its closing NUL.
const maxCmdline = 2047

// cmdline is the kernel's. Each parameter is here for a reason that was measured with Debian 12's cloud kernel under
// TCG; what made no difference was left out.
func cmdline(c vmm.Config, h Host) (string, error) {
	words := []string{
		// Panics and what is worse still reach the console; at full length the messages take a fifth of the boot.
		"console=ttyS0", "quiet",
		// A panic reboots at once by a triple fault, which -no-reboot turns into the end of the VM.
		"panic=-1", "reboot=t",
		"cryptomgr.notests", // 0.78 of the boot
		"no_timer_check",    // with the next 0.89 of it; and the check fails when a vCPU is preempted
		"noreplace-smp",
		// The generator is ready at once, instead of when enough has happened. Configure adds the host's entropy.
		"random.trust_cpu=on",
	}
	if h.Accel == "tcg" {
		if h.TSCKHz <= 0 {
			return "", model.Errorf(model.ErrInvalid, "cannot emulate a VM without the rate of the host's clock")
		}
		words = append(words, EmulatedClock(h.TSCKHz)...)
	}
	for _, w := range c.Cmdline {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' }) {
			return "", model.Errorf(model.ErrInvalid, "cannot give the kernel the parameter %q", w)
		}
		words = append(words, w)
	}
	line := strings.Join(words, " ")
	if len(line) > maxCmdline {
		return "", model.Errorf(model.ErrInvalid, "cannot give the kernel %d bytes of parameters: it takes %d", len(line), maxCmdline)
	}
	return line, nil
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
