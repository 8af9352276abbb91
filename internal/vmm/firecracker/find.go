package firecracker

import (
	"context"
	"errors"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/unixsocket"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// Find adopts the Firecracker that holds the lock in dir. hint is believed only where it names that very process; else the
// API's socket is asked who listens, and in the end every process of the host whether it has the lock. One that is stopped
// or hangs is adopted all the same: nothing here waits for its answer.
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
	if found, err := d.findJailed(m, id); err != nil || found {
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return m.public(), nil
	}
	var listener model.Process
	if conn, err := unixsocket.Dial(ctx, filepath.Join(dir, socketAPI)); err == nil {
		listener = process.Listener(conn)
		conn.Close()
	}
	handle, err := procs.Holder(lock, hint.VMM, listener)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.listen()
	m.Adopt(handle, m.heard(), m.why)
	return m.public(), nil
}

// listen opens what an adopted VMM is heard by. Without it it can still be watched, killed and talked to.
func (m *machine) listen() {
	if f, err := openFIFO(filepath.Join(m.dir, fifoLog)); err == nil {
		m.log = process.NewTail(f)
	} else {
		m.Log().Warn("cannot hear a VMM", "error", err)
	}
	// It is there when the VM was started with a console, whatever the driver does for others now.
	if f, err := openFIFO(filepath.Join(m.sockets, fifoConsole)); err == nil {
		m.con = process.NewConsole(f)
	}
}
