package qemu

import (
	"fmt"
	"syscall"

	"banger/internal/model"
)

// why says how the VMM ended, from what is known of it: the reason it gave, the console's last words, its exit status
// and ours. The caller holds m.mu.
func (m *machine) why() model.Exit {
	panicked := ""
	if m.con != nil {
		panicked = m.con.panicked()
	}
	switch m.shutdown {
	case "guest-shutdown":
		return model.Exit{Reason: model.ExitPowerOff}
	case "guest-panic":
		return model.Exit{Reason: model.ExitPanic, Detail: panicked}
	case "guest-reset":
		// A kernel that panics resets the machine. microvm has no device by which a stock kernel could tell the two apart,
		// so the console does.
		if panicked != "" {
			return model.Exit{Reason: model.ExitPanic, Detail: panicked}
		}
		return model.Exit{Reason: model.ExitReset}
	case "host-signal", "host-qmp-quit":
		return model.Exit{Reason: model.ExitKilled, Detail: m.shutdown}
	}
	if m.killed {
		return model.Exit{Reason: model.ExitKilled}
	}
	return m.status(panicked)
}

// status is for a VMM that left no message.
func (m *machine) status(panicked string) model.Exit {
	words := ""
	if m.stderr != nil {
		words = m.stderr.words()
	}
	if m.child != nil && m.child.State() != nil {
		if s, ok := m.child.State().Sys().(syscall.WaitStatus); ok && s.Signaled() {
			reason := model.ExitKilled
			switch s.Signal() {
			case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGABRT, syscall.SIGILL, syscall.SIGFPE, syscall.SIGSYS, syscall.SIGTRAP:
				reason = model.ExitCrash // SIGSYS is the sandbox's
			}
			return model.Exit{Reason: reason, Detail: join(s.Signal().String(), words)}
		}
		if code := m.child.State().ExitCode(); code > 0 {
			return model.Exit{Reason: model.ExitCrash, Detail: join(fmt.Sprintf("exit code %d", code), words)}
		}
	}
	if panicked != "" {
		return model.Exit{Reason: model.ExitPanic, Detail: panicked}
	}
	return model.Exit{Reason: model.ExitUnknown, Detail: words}
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}
