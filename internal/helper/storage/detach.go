package storage

import (
	"context"
	"errors"
	"os"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
)

// patience is how long Detach waits for whatever still has the device open. udev looks at each for a moment; a VMM that was
// killed is gone before its devices are taken away.
const patience = 10 * time.Second

// Detach takes the VM's snapshot away, unless its VMM runs in a jail. That there is nothing is success. Every step runs
// whatever the others do.
func (h *Host) Detach(ctx context.Context, id model.VMID) error {
	if err := errors.Join(h.check(id), h.unjailed(id)); err != nil {
		return model.HostErrorf(err, "cannot detach the snapshot of %s", id)
	}
	crash.At("storage.detach.before")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	errs := []error{h.removeNode(id), h.removeMapped(ctx, id)}
	crash.At("storage.detach.mapped")
	errs = append(errs, h.clear(ctx, id, isSnapshot))
	if err := errors.Join(errs...); err != nil {
		return model.HostErrorf(err, "cannot detach the snapshot of %s", id)
	}
	crash.At("storage.detach.after")
	return nil
}

// unjailed is an error while the VM's VMM runs in a jail.
func (h *Host) unjailed(id model.VMID) error {
	if h.o.Jails == nil {
		return nil
	}
	pid, err := h.o.Jails.Process(id)
	if err == nil && pid != 0 {
		err = model.Errorf(model.ErrState, "its VMM runs, process %d", pid)
	}
	return err
}

// removeMapped removes the mapped device, once nothing has it open.
func (h *Host) removeMapped(ctx context.Context, id model.VMID) error {
	dm, err := openControl()
	if errors.Is(err, os.ErrNotExist) {
		return nil // without device-mapper there is none
	}
	if err != nil {
		return err
	}
	defer dm.close()
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.close()
	// When something has it open, the kernel removes it at the last close: there is nothing to retry.
	if err := dm.remove(h.uuid(id)); err != nil {
		return err
	}
	return events.until(ctx, "the device "+h.name(id)+" is still open; it goes when what has it open ends", func() (bool, error) {
		_, err := dm.status(h.uuid(id), false)
		if errors.Is(err, errNoDevice) {
			return true, nil
		}
		return false, err
	})
}

// clear frees the loop devices of the VM that stand for such parts, which are free once nothing has them open any more.
func (h *Host) clear(ctx context.Context, id model.VMID, of func(part string) bool) error {
	events, err := listen()
	if err != nil {
		return err
	}
	defer events.close()
	return events.until(ctx, "a loop device of "+string(id)+" is still in use; it goes when what has it open ends", func() (bool, error) {
		loops, err := h.loops(of)
		errs := []error{err}
		gone := true
		for _, l := range loops {
			if l.id == id {
				gone = false
				errs = append(errs, h.clearLoop(l))
			}
		}
		return gone, errors.Join(errs...)
	})
}
