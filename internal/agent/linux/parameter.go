package linux

import (
	"os"
	"strings"
)

// The parameters of the kernel's command line by which a VMM's driver tells the agent what its machine is like, when it is
// not as QEMU's is.
const (
	// benchParameter names a command, its words separated by commas; see bench.
	benchParameter = "banger.bench="
	// channelParameter says that the host comes by vsock and not by virtio-serial ports.
	channelParameter = "banger.channel=vsock"
	// drivesParameter names the drives in the order in which the machine has them, separated by commas: they have no
	// serials of the host's choice.
	drivesParameter = "banger.drives="
	// offParameter says that the machine has no power switch: a reset by the keyboard's controller ends it instead.
	offParameter = "banger.off=keyboard"
)

// parameter returns the value of the first word of the kernel's command line that begins with prefix and has more.
func parameter(prefix string) (string, bool) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", false
	}
	for word := range strings.FieldsSeq(string(line)) {
		if value, ok := strings.CutPrefix(word, prefix); ok && value != "" {
			return value, true
		}
	}
	return "", false
}

// told says whether a word is on the kernel's command line.
func told(word string) bool {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return false
	}
	for w := range strings.FieldsSeq(string(line)) {
		if w == word {
			return true
		}
	}
	return false
}
