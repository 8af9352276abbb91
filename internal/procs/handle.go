package procs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Handle is a hold on one process: it is watched and signalled through a pidfd, never through its number. The process
// need not be a child.
type Handle struct {
	process model.Process
	file    *os.File // the pidfd, nonblocking, so that the runtime's poller waits for it
	raw     syscall.RawConn
	done    chan struct{}
	watch   sync.WaitGroup
}

// Open takes hold of p. It is ErrNotFound when p is gone or its pid belongs to another process now.
func Open(p model.Process) (*Handle, error) {
	if p.PID <= 0 {
		return nil, model.Errorf(model.ErrNotFound, "cannot find process %d: no process has such a number", p.PID)
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // EINVAL: a thread, not a process
		return nil, model.Errorf(model.ErrNotFound, "cannot find process %d: %w", p.PID, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot watch process %d: %w", p.PID, err)
	}
	// Only now: the pidfd pins whoever has the pid, and the check says whether that is p.
	now, err := Of(p.PID)
	if err == nil && now != p {
		err = model.Errorf(model.ErrNotFound, "cannot find process %d: its number belongs to another process now", p.PID)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newHandle(p, fd)
}

// newHandle owns fd, a nonblocking pidfd of p.
func newHandle(p model.Process, fd int) (*Handle, error) {
	file := os.NewFile(uintptr(fd), fmt.Sprintf("pidfd of %d", p.PID))
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot watch process %d: %w", p.PID, err)
	}
	h := &Handle{process: p, file: file, raw: raw, done: make(chan struct{})}
	h.watch.Go(h.wait)
	return h, nil
}

// wait closes done when the pidfd becomes readable, which is when the last thread has ended: by then its files are
// closed, and with them its locks are free.
func (h *Handle) wait() {
	err := h.raw.Read(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(polled, 0)
		return err == nil && n > 0
	})
	if err == nil { // an error is Close
		close(h.done)
	}
}

// Process returns whom h holds.
func (h *Handle) Process() model.Process { return h.process }

// Done is closed when the process is dead. After Close it may never be.
func (h *Handle) Done() <-chan struct{} { return h.done }

// Signal sends sig. It is ErrNotFound when the process is gone.
func (h *Handle) Signal(sig syscall.Signal) error {
	select {
	case <-h.done:
		return model.Errorf(model.ErrNotFound, "cannot signal process %d: it has ended", h.process.PID)
	default:
	}
	var sent error
	if err := h.raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", h.process.PID, err)
	}
	if errors.Is(sent, unix.ESRCH) {
		return model.Errorf(model.ErrNotFound, "cannot signal process %d: %w", h.process.PID, sent)
	}
	if sent != nil {
		return fmt.Errorf("cannot signal process %d: %w", h.process.PID, sent)
	}
	return nil
}

// Kill sends SIGKILL and returns when the process is dead, or with ctx's error. A dead one is fine.
func (h *Handle) Kill(ctx context.Context) error {
	if err := h.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, model.ErrNotFound) {
		return err
	}
	select {
	case <-h.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot see the end of process %d: %w", h.process.PID, context.Cause(ctx))
	}
}

// Close lets go of the process without disturbing it. Twice is fine.
func (h *Handle) Close() error {
	err := h.file.Close()
	h.watch.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

const noPidfds = "cannot watch processes on this host: its kernel has no pidfds that do not block; Linux 5.10 and later have"

// Supported says whether this host's kernel can do what Open and Start need.
func Supported() error {
	fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK)
	if err != nil {
		return model.Errorf(model.ErrUnsupported, noPidfds+" (%w)", err)
	}
	return unix.Close(fd)
}
