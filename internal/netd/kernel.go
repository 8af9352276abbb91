package netd

import (
	"context"
	"os"
	"time"

	"banger/internal/dirs"
	"banger/internal/helper/hostnet"
	"banger/internal/helper/netcall"
	"banger/internal/helper/wire"
	"banger/internal/model"
	"banger/internal/netd/port"
)

// pinLimit is how long the kernel may take to hear what a name stands for: a guest waits for the answer.
const pinLimit = 5 * time.Second

// pinPause is how long after one change the next may be: who changes rules reads them first, while nobody else does, and
// guests may ask for names without end.
const pinPause = 10 * time.Millisecond

// pinsOf is how the kernel is told what names stand for: by us where we are root, as the daemon is then; by the privileged
// helper for an ordinary user, who may tell it of VMs of theirs.
func pinsOf(d dirs.Dirs) func(ctx context.Context, p port.Pin) error {
	turn := make(chan struct{}, 1) // of which each VM waits for one at a time
	return func(ctx context.Context, p port.Pin) error {
		instance, err := d.FindInstance()
		if err != nil {
			return err
		}
		tell := netcall.New(wire.Socket(netcall.Service), instance).PinAddresses
		if os.Geteuid() == 0 {
			tell = hostnet.New(hostnet.Options{Instance: instance}).PinAddresses
		}
		ctx, cancel := context.WithTimeout(ctx, pinLimit)
		defer cancel()
		select {
		case turn <- struct{}{}:
			defer func() { time.AfterFunc(pinPause, func() { <-turn }) }()
		case <-ctx.Done():
			return ctx.Err()
		}
		return tell(ctx, model.VMID(p.ID), hostnet.SlotBeside(p.Gateway, p.Address), hostnet.Pin{
			Entries: p.Entries, Addresses: p.Addresses, Life: p.Life,
		})
	}
}
