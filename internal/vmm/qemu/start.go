package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

// killTimeout bounds the wait for the end of a VMM that failed to start: only a process stuck in the kernel needs it.
const killTimeout = 10 * time.Second

// Start runs QEMU for c. It returns when QEMU has let the guest run, or with nothing left behind.
func (d *Driver) Start(ctx context.Context, c vmm.Config) (_ vmm.Machine, err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = model.Errorf(model.ErrCanceled, "cannot start the VM: %w", context.Cause(ctx))
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	features, host := d.features(ctx)
	if err := features.Err("start the VM"); err != nil {
		return nil, err
	}
	argv, err := Argv(c, host)
	if err != nil {
		return nil, err
	}
	if err := c.Readable(); err != nil {
		return nil, err
	}
	s, err := listen(c)
	if err != nil {
		return nil, fmt.Errorf("cannot start the VM: %w", err)
	}
	m, err := d.spawn(ctx, c, s, argv)
	s.close()
	if err == nil {
		err = m.started(ctx)
	}
	if err != nil {
		if m != nil {
			err = m.abandon(err)
		}
		s.unlink()
		return nil, err
	}
	return m, nil
}

// spawn starts the process with its monitor and its console connected: the connections wait in the sockets' queues for
// QEMU to take them.
func (d *Driver) spawn(ctx context.Context, c vmm.Config, s *sockets, argv []string) (_ *machine, err error) {
	m := newMachine(c.Dir, d.options.Log.With("vm", string(c.ID)))
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	if err := m.connect(ctx); err != nil {
		return nil, fmt.Errorf("cannot start the VM: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	m.stderr = process.NewTail(r)
	// It holds no directory of ours.
	files := s.files
	if c.Link.Kind == network.LinkOpenTap {
		files = append(slices.Clip(files), c.Tap)
	}
	child, coreErr, err := process.Start(process.Command{Argv: argv, Dir: "/", Lock: c.Lock, Errors: w, Files: files})
	if err != nil {
		return nil, err
	}
	if coreErr != nil {
		m.Log().Warn("cannot forbid core dumps of QEMU", "error", coreErr)
	}
	m.Born(child, m.heard(), m.why)
	return m, nil
}

// started waits until QEMU answers on its monitor, which it does only once the machine is made and let run.
func (m *machine) started(ctx context.Context) error {
	select {
	case <-m.ready:
		crash.At("qemu.start.ready")
		return nil
	case <-m.Ended():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-m.Done()
	select {
	case <-m.ready: // it ran, and is over already: that is the caller's to see
		return nil
	default:
	}
	words := lastWords(m.stderr.Text())
	if words == "" {
		words = m.Exit().String()
	}
	return model.Errorf(kindOf(words), "cannot start the VM: QEMU says: %s", words)
}

// kindOf finds the kind of error in QEMU's words, of which the last part is often the C library's.
func kindOf(words string) error {
	for _, known := range []struct {
		text string
		kind error
	}{
		{"write\" lock", model.ErrState}, // another process has the disk open
		{"Permission denied", model.ErrDenied},
		{"No space left on device", model.ErrNoSpace},
		{"not in qcow2 format", model.ErrCorrupt},
		{"corrupt", model.ErrCorrupt},
	} {
		if strings.Contains(words, known.text) {
			return known.kind
		}
	}
	return model.ErrUnavailable
}

// abandon ends a VMM whose start failed with err.
func (m *machine) abandon(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return errors.Join(err, m.Kill(ctx), m.Close())
}
