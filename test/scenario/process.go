package scenario

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// process is one process of this host, held by a descriptor, so that its number cannot come to mean another.
type process struct {
	pid int
	fd  int
}

func openProcess(pid int) (process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return process{}, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	return process{pid: pid, fd: fd}, nil
}

func (p process) signal(sig unix.Signal) error { return unix.PidfdSendSignal(p.fd, sig, nil, 0) }

// waitGone reports whether the process ended within the limit.
func (p process) waitGone(limit time.Duration) bool {
	end := time.Now().Add(limit)
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(max(0, time.Until(end).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 1
	}
}

// kill ends the process, waits for its death and reports whether it came.
func (p process) kill() bool {
	defer p.close()
	return p.signal(unix.SIGKILL) != nil || p.waitGone(patient(time.Minute))
}

func (p process) close() { unix.Close(p.fd) }
