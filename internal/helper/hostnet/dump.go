package hostnet

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumpTries is how often a list of the kernel's is read that others change meanwhile.
const dumpTries = 20

// whole reads a list of the kernel's until it was not changed while it was read.
func whole[T any](read func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		list, err := read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return list, err
		}
	}
}
