package qemu

import (
	"fmt"
	"strings"

	"banger/internal/model"
	"banger/internal/vmm/process"
)

// why says how the VMM ended, from what is known of it: the reason it gave, the console's last words, its exit status
// and ours.
func (m *machine) why() model.Exit {
	m.mu.Lock()
	defer m.mu.Unlock()
	panicked := m.con.Panicked()
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
	if m.Killed() {
		return model.Exit{Reason: model.ExitKilled}
	}
	return m.status(panicked)
}

// status is for a VMM that left no message.
func (m *machine) status(panicked string) model.Exit {
	words := lastWords(m.stderr.Text())
	exit, code, ok := m.Status(words)
	switch {
	case ok && code < 0:
		return exit
	case ok && code > 0:
		return model.Exit{Reason: model.ExitCrash, Detail: process.Join(fmt.Sprintf("exit code %d", code), words)}
	case panicked != "":
		return model.Exit{Reason: model.ExitPanic, Detail: panicked}
	}
	return model.Exit{Reason: model.ExitUnknown, Detail: words}
}

// lastWords returns what QEMU complained about last, on one line, without the program's name and the arguments that it
// repeats.
func lastWords(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		_, text, ok := strings.Cut(line, ": ")
		if !ok || !strings.HasPrefix(line, "qemu") {
			text = line
		}
		text = process.Printable(text)
		if text == "" || strings.HasPrefix(text, "warning:") || strings.Contains(text, ": info: ") {
			continue
		}
		if _, rest, ok := strings.Cut(text, "}: "); ok && strings.HasPrefix(text, "-") {
			text = rest
		}
		said = append(said, text)
	}
	return strings.Join(said, "; ")
}
