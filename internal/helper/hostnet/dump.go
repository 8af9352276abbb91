package hostnet

import (
	"errors"

	"github.com/vishvananda/netlink"

	"banger/internal/model"
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

// once reads a list of the kernel's rules until it has nothing twice, by its key. Beside changes that somebody asks for, and
// that are not made yet or are refused in the end, the rules keep their number (see settled); but the kernel, which tells of a
// long list in pieces, counts those among what it has told (nf_tables_dump_chains), and tells some of that again. What it then
// leaves out comes after what it repeats, so that this tells of both.
func once[T any, K comparable](read func() ([]T, error), key func(T) K) ([]T, error) {
	for range dumpTries {
		list, err := read()
		if err != nil {
			return nil, err
		}
		keys := make(map[K]bool, len(list))
		for _, e := range list {
			keys[key(e)] = true
		}
		if len(keys) == len(list) {
			return list, nil
		}
	}
	return nil, errUnsettled()
}

func errUnsettled() error {
	return model.Errorf(model.ErrUnavailable, "the host's rules are changed all the time; try again")
}
