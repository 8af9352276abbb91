package procs

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// Child is a process that this one started and reaps. Its life is its own: nothing here ends it but Kill and Signal.
type Child struct {
	*Handle
	process *os.Process
	reaped  chan struct{}
	state   *os.ProcessState
}

// Start runs the program at path, as os.StartProcess does, with a pidfd from the moment of its birth. A goroutine reaps
// it when it has died, whether or not the Child is closed by then.
func Start(path string, argv []string, attr os.ProcAttr) (*Child, error) {
	sys := syscall.SysProcAttr{}
	if attr.Sys != nil {
		sys = *attr.Sys
	}
	pidfd := -1
	sys.PidFD = &pidfd
	attr.Sys = &sys
	process, err := os.StartProcess(path, argv, &attr)
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", path, err)
	}
	c := &Child{process: process, reaped: make(chan struct{})}
	if err := c.hold(pidfd); err != nil {
		_ = process.Kill()
		_, _ = process.Wait()
		return nil, err
	}
	go c.reap()
	return c, nil
}

// hold makes the handle. A child cannot lose its pid before it is reaped, so its identity is its own even when it has
// died meanwhile; a zombie's start time is still readable.
func (c *Child) hold(pidfd int) error {
	if pidfd < 0 {
		return model.Errorf(model.ErrUnsupported, noPidfds)
	}
	if err := unix.SetNonblock(pidfd, true); err != nil {
		unix.Close(pidfd)
		return err
	}
	boot, err := BootID()
	if err != nil {
		unix.Close(pidfd)
		return err
	}
	_, start, err := stat(c.process.Pid)
	if err != nil {
		unix.Close(pidfd)
		return err
	}
	c.Handle, err = newHandle(model.Process{PID: c.process.Pid, StartTime: start, BootID: boot}, pidfd)
	return err
}

// reap waits through the runtime's poller and not in waitid, which would hold one thread per child. It owns the handle.
func (c *Child) reap() {
	defer close(c.reaped)
	<-c.done
	c.state, _ = c.process.Wait()
	c.Handle.Close()
}

// Close does nothing: a child is reaped however long it lives, and what watches it is let go of then.
func (c *Child) Close() error { return nil }

// Reaped is closed when the process has been collected, a moment after Done.
func (c *Child) Reaped() <-chan struct{} { return c.reaped }

// State is how the process ended, once Reaped is closed; nil when the kernel did not tell.
func (c *Child) State() *os.ProcessState { return c.state }
