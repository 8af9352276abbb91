package qemu

import (
	"context"
	"errors"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// Find adopts the QEMU that holds the lock in dir. hint is believed only where it names that very process; else the
// monitor's socket is asked who listens, and in the end every process of the host whether it has the lock. A QEMU that
// is stopped or hangs is adopted all the same: nothing here waits for its answer.
func (d *Driver) Find(ctx context.Context, id model.VMID, dir string, hint model.Handles) (vmm.Machine, error) {
	lock := filepath.Join(dir, vmm.LockName)
	held, err := procs.Locked(lock)
	if err != nil {
		return nil, err
	}
	if !held {
		return nil, model.Errorf(model.ErrNotFound, "cannot find a VMM of %s: none lives", id)
	}
	m := newMachine(dir, d.options.Log.With("vm", string(id)))
	if err := m.connect(ctx); err != nil {
		// It can still be watched, killed and talked to; only its last words will be missed.
		m.Log().Warn("cannot reach the sockets of a VMM", "error", err)
	}
	var listener model.Process
	if m.qmp != nil {
		listener = process.Listener(m.qmp.conn)
	}
	handle, err := procs.Holder(lock, hint.VMM, listener)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.Adopt(handle, m.heard(), m.why)
	return m, nil
}
