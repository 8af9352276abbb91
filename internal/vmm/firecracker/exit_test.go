package firecracker

import (
	"io"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/vmm/process"
)

func console(text string) *process.Console {
	c := process.NewConsole(io.NopCloser(strings.NewReader(text)))
	<-c.Ended()
	return c
}

func TestRead(t *testing.T) {
	t.Parallel()
	off, fault := loadRecording(t, "poweroff"), loadRecording(t, "panic")
	const panicLine = "Kernel panic - not syncing: x\n"
	for name, test := range map[string]struct {
		code    int
		log     string
		console *process.Console
		want    model.ExitReason
	}{
		"power off":                  {off.Code, off.Log, nil, model.ExitPowerOff},
		"power off, console":         {off.Code, off.Log, console("bye\n"), model.ExitPowerOff},
		"reset":                      {fault.Code, fault.Log, console("hello\n"), model.ExitReset},
		"panic":                      {fault.Code, fault.Log, console(panicLine), model.ExitPanic},
		"reset or panic":             {fault.Code, fault.Log, nil, model.ExitReset},
		"reset, another code":        {1, fault.Log, nil, model.ExitReset},
		"a call that is not allowed": {148, off.Log, nil, model.ExitCrash},
	} {
		if got := read(test.code, test.log, test.console); got.Reason != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := read(fault.Code, fault.Log, nil); !strings.Contains(got.Detail, "panicked") {
		t.Errorf("without a console a reset is told as %q", got)
	}
}

// TestExitPattern holds what an adopted VMM's end is read from against real logs.
func TestExitPattern(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"poweroff", "panic"} {
		r := loadRecording(t, name)
		if found := exitPattern.FindAllStringSubmatch(r.Log, -1); len(found) != 1 || found[0][1] != "0" {
			t.Errorf("%s: %q", name, found)
		}
	}
	if found := exitPattern.FindStringSubmatch("Firecracker exiting with error. exit_code=148\n"); len(found) != 2 || found[1] != "148" {
		t.Errorf("an error: %q", found)
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"start", "poweroff"} { // an ordinary life leaves nothing to say
		if got := lastWords(loadRecording(t, name).Log); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := lastWords(loadRecording(t, "panic").Log); got != tripleFault {
		t.Errorf("panic: %q", got)
	}
	for text, want := range map[string]string{
		"": "", "Error: plain\nsecond\n": "Error: plain; second",
		// It lets its vCPUs run.
		"2026-11-26T13:38:14.1 [box:main] Artificially kick devices\n2026-11-26T13:38:14.2 [box:fc_vcpu 0] Received a VcpuEvent::Resume message with immediate_exit enabled. immediate_exit was disabled before proceeding\n": "",
		"2026-01-01T00:00:00.1 [x:main] a\x1b[31m\n": "a [31m",
	} {
		if got := lastWords(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestFiltered(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n": true, "Seccomp:\t0\n": false, "Seccomp:\t1\n": false, "": false,
		"Seccomp_filters:\t2\n": false,
	} {
		if got := filtered(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
