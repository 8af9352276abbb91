package qemu

import (
	"bytes"
	"context"
	"path/filepath"
	"time"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// adoptLimit is how long a living QEMU may take to answer a new daemon.
const adoptLimit = 5 * time.Second

// Find implements vmm.Driver. The one proof of who the VMM is is that it holds the VM's lock; the hint only spares the
// search. A QEMU that does not answer is still found: it can be killed, which is what matters.
func (d *Driver) Find(ctx context.Context, _ model.VMID, dir string, hint model.Handles) (vmm.Machine, error) {
	handle, err := procs.Holder(filepath.Join(dir, "vmm.lock"), hint.VMM)
	if err != nil {
		return nil, err
	}
	m := &machine{dir: dir, process: handle, log: d.Log}
	ctx, cancel := context.WithTimeout(ctx, adoptLimit)
	defer cancel()
	if err := m.connect(ctx); err != nil {
		d.Log.Warn("a QEMU that lives does not answer its monitor", "pid", handle.Process().PID, "error", err)
		return m, nil
	}
	// The daemon before may have died between QEMU's start and the guest's: let it go now, as it would have.
	status, err := m.monitor.ask(ctx, "query-status")
	if err == nil && bytes.Contains(status, []byte(`"prelaunch"`)) {
		err = m.monitor.do(ctx, "cont")
	}
	if err != nil {
		d.Log.Warn("cannot ask an adopted QEMU how it is", "pid", handle.Process().PID, "error", err)
	}
	return m, nil
}
