package firecracker

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"banger/internal/model"
	"banger/internal/vmm/process"
)

// tripleFault is how Firecracker logs the reset of a guest that it did not expect. Linux resets so after a panic, and at a
// reboot that did not go through the agent; which of them it was only a console tells.
const tripleFault = "Unexpected exit reason on vcpu run: Shutdown"

// exitPattern finds the exit code in the last line that Firecracker logs.
var exitPattern = regexp.MustCompile(`Firecracker exiting (?:successfully|with error)\. exit_code=(\d{1,3})\n`)

// why says how the VMM ended, from its exit status or, of an adopted one, from what it logged of it, and from its console.
func (m *machine) why() model.Exit {
	text := m.log.Text()
	words := lastWords(text)
	exit, code, ok := m.Status(words)
	switch {
	case m.Killed(), ok && code < 0 && exit.Reason == model.ExitKilled:
		return model.Exit{Reason: model.ExitKilled}
	case ok && code < 0:
		return exit
	case !ok:
		found := exitPattern.FindAllStringSubmatch(text, -1)
		if len(found) == 0 && m.heardAll && words == "" {
			return model.Exit{Reason: model.ExitKilled} // one that ends by itself says so
		}
		if len(found) == 0 {
			return model.Exit{Reason: model.ExitUnknown, Detail: words}
		}
		code, _ = strconv.Atoi(found[len(found)-1][1]) // the pattern lets only short numbers through
	}
	return read(code, text, m.con)
}

// read makes sense of an end by itself. The triple fault's own exit code is zero too, in some versions.
func read(code int, text string, con *process.Console) model.Exit {
	panicked := con.Panicked()
	switch reset := strings.Contains(text, tripleFault); {
	case reset && panicked != "":
		return model.Exit{Reason: model.ExitPanic, Detail: panicked}
	case reset && con == nil:
		return model.Exit{Reason: model.ExitReset, Detail: "or its kernel panicked, which only a console would tell"}
	case reset:
		return model.Exit{Reason: model.ExitReset}
	case code == 0:
		return model.Exit{Reason: model.ExitPowerOff}
	}
	return model.Exit{Reason: model.ExitCrash, Detail: process.Join(fmt.Sprintf("exit code %d", code), lastWords(text))}
}

// logLine is a line of Firecracker's log: a time, the VM's id and the thread, then what is said.
var logLine = regexp.MustCompile(`^\S+ \[[^\]]*\] (.*)$`)

// lastWords returns what Firecracker complained about, on one line. What it says of its ordinary life is left out.
func lastWords(text string) string {
	var said []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := logLine.FindStringSubmatch(line); m != nil {
			line = m[1]
		}
		line = process.Printable(line)
		switch {
		case line == "", strings.HasPrefix(line, "Running Firecracker"), strings.HasPrefix(line, "Listening on API socket"),
			strings.HasPrefix(line, "The API server received"), strings.HasPrefix(line, "The request was executed"),
			strings.HasPrefix(line, "API server started"), strings.HasPrefix(line, "Successfully started microvm"),
			strings.HasPrefix(line, "Vmm is stopping"), strings.HasPrefix(line, "Firecracker exiting"),
			strings.HasPrefix(line, "Killing vCPU threads"), strings.HasPrefix(line, "Artificially kick devices"),
			strings.HasPrefix(line, "Received a VcpuEvent::Resume message with immediate_exit enabled"),
			// The guest's own doing: it looks for devices that are not there.
			strings.HasPrefix(line, "vcpu: IO"), strings.HasPrefix(line, "Invalid MMIO"), strings.HasPrefix(line, "vsock:"):
			continue
		}
		said = append(said, line)
	}
	return strings.Join(said, "; ")
}
