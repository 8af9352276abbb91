package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
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
	if features.Problem != "" {
		return nil, model.Errorf(model.ErrUnsupported, "cannot start the VM: %s", features.Problem)
	}
	argv, err := Argv(c, host)
	if err != nil {
		return nil, err
	}
	if err := readable(c); err != nil {
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

// readable makes the most likely faults of a start errors of their own kind, before QEMU words them.
func readable(c vmm.Config) error {
	paths := map[string]string{c.Kernel: "kernel", c.Initrd: "initramfs"}
	for _, d := range c.Drives {
		paths[d.Path] = d.Serial + " disk"
		if d.Backing != "" {
			paths[d.Backing] = "image below its " + d.Serial + " disk"
		}
	}
	for path, what := range paths {
		// Nonblocking: a FIFO in a disk's place must not hang the start.
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
		switch {
		case err == nil:
			f.Close()
		case errors.Is(err, fs.ErrNotExist):
			return model.Errorf(model.ErrNotFound, "cannot start the VM: its %s is missing: %w", what, err)
		case errors.Is(err, fs.ErrPermission):
			return model.Errorf(model.ErrDenied, "cannot start the VM: its %s cannot be read: %w", what, err)
		default:
			return fmt.Errorf("cannot start the VM: its %s cannot be read: %w", what, err)
		}
	}
	if c.Lock == nil {
		return model.Errorf(model.ErrInvalid, "cannot start the VM: it was given no lock to hold")
	}
	return nil
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
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	m.stderr = newStderr(r)
	child, err := procs.Start(argv[0], argv, os.ProcAttr{
		Dir:   "/", // it holds no directory of ours
		Env:   []string{"PATH=/usr/bin:/bin", "LC_ALL=C"},
		Files: append([]*os.File{c.Lock, null, w}, s.files...),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, err
	}
	// Its memory is the guest's. QEMU has parsed nothing of the guest's by now.
	if err := unix.Prlimit(child.Process().PID, unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		d.options.Log.Warn("cannot forbid core dumps of QEMU", "error", err)
	}
	m.child = child
	m.hold(child)
	return m, nil
}

// started waits until QEMU answers on its monitor, which it does only once the machine is made and let run.
func (m *machine) started(ctx context.Context) error {
	select {
	case <-m.ready:
		return nil
	case <-m.handle.Done():
	case <-m.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-m.done
	select {
	case <-m.ready: // it ran, and is over already: that is the caller's to see
		return nil
	default:
	}
	words := m.stderr.words()
	if words == "" {
		words = m.exit.String()
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
