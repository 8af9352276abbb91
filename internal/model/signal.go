package model

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The real-time signals as the C library counts them: the kernel's first two are its own.
const (
	signalRTMin = 34
	signalRTMax = 64
)

// ParseSignal returns the number of a Linux signal written as a stop signal is: "SIGTERM", "term", "15", "SIGRTMIN+3".
func ParseSignal(text string) (int, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= signalRTMax {
		return n, nil
	}
	if n := int(unix.SignalNum("SIG" + name)); n > 0 {
		return n, nil
	}
	for _, base := range []struct {
		name string
		at   int
	}{{"RTMIN", signalRTMin}, {"RTMAX", signalRTMax}} {
		rest, ok := strings.CutPrefix(name, base.name)
		if !ok {
			continue
		}
		offset, err := strconv.Atoi(rest)
		if rest == "" {
			offset, err = 0, nil
		}
		if n := base.at + offset; err == nil && n >= signalRTMin && n <= signalRTMax {
			return n, nil
		}
	}
	return 0, Errorf(ErrInvalid, "%q is not a signal: write a name such as SIGQUIT, or a number from 1 to %d", text, signalRTMax)
}
