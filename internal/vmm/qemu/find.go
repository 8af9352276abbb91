package qemu

import (
	"context"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
)

// Find adopts the QEMU that holds the lock in dir. hint is believed only where it names that very process; else the
// monitor's socket is asked who listens, and in the end every process of the host whether it has the lock. A QEMU that
// is stopped or hangs is adopted all the same: nothing here waits for its answer.
func (d *Driver) Find(ctx context.Context, id model.VMID, dir string, hint model.Handles) (vmm.Machine, error) {
	lock := filepath.Join(dir, vmm.LockName)
	hints := []model.Process{hint.VMM}
	if p, err := listener(ctx, dir); err == nil {
		hints = append(hints, p)
	}
	handle, err := procs.Holder(lock, hints...)
	if err != nil {
		return nil, err
	}
	m := newMachine(dir, d.options.Log.With("vm", string(id)))
	if err := m.connect(ctx); err != nil {
		// It can still be watched, killed and talked to; only its last words will be missed.
		m.log.Warn("cannot reach an adopted VMM's sockets", "error", err)
	}
	m.hold(handle)
	return m, nil
}

// listener returns the process that listens on the monitor's socket.
func listener(ctx context.Context, dir string) (model.Process, error) {
	conn, err := unixsocket.Dial(ctx, filepath.Join(dir, socketMonitor))
	if err != nil {
		return model.Process{}, err
	}
	defer conn.Close()
	_, pid, err := unixsocket.PeerCred(conn)
	if err != nil {
		return model.Process{}, err
	}
	return procs.Of(pid)
}
