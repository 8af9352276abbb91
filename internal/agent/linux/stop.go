package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// systemdPowerOff is what systemd takes as the order to power off: SIGRTMIN+4 (systemd(1)).
const systemdPowerOff = 34 + 4

// Stop ends the guest: an init program is asked in its own convention and powers off by itself; otherwise, or when it has
// not done so within grace, all processes are ended, the disks written and the power switched off.
func (s *System) Stop(grace time.Duration) error {
	unix.Sync() // what was written until now is safe, whatever follows
	s.mu.Lock()
	config, main := s.config, s.main
	s.mu.Unlock()
	end := time.Now().Add(grace)
	if !s.head.cancel() && config.Init == model.InitSystemd && takesSignal(1, systemdPowerOff) {
		if err := unix.Kill(1, systemdPowerOff); err == nil {
			// systemd switches the power off, and this process with it.
			time.Sleep(time.Until(end))
		}
	}
	if main != nil && config.StopSignal > 0 {
		main.askToEnd(config.StopSignal, end)
	}
	s.endAll(end)
	unix.Sync()
	for _, at := range mountPoints() {
		_ = unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") // one that is busy was synced and has a journal
	}
	unix.Sync()
	if err := powerOff(); err != nil {
		return fmt.Errorf("cannot power off: %w", err)
	}
	return nil
}

// askToEnd sends the process its image's stop signal and waits until it has ended, or until end.
func (p *process) askToEnd(signal int, end time.Time) {
	p.mu.Lock()
	ended := p.ended
	pid := p.pid
	if !ended {
		_ = unix.Kill(pid, syscall.Signal(signal))
	}
	p.mu.Unlock()
	if !ended {
		awaitEnds([]int{pid}, end)
	}
}

// endAll asks every process to end, waits for that until end, and kills what is left.
func (s *System) endAll(end time.Time) {
	s.forking.Lock() // nothing new is started any more: it stays locked
	_ = unix.Kill(-1, unix.SIGTERM)
	_ = unix.Kill(-1, unix.SIGCONT) // a stopped process cannot end by TERM
	awaitEnds(processes(), end)
	_ = unix.Kill(-1, unix.SIGKILL)
	awaitEnds(processes(), time.Now().Add(time.Second))
}

// processes returns the pids of all processes but the agent, process 1 and the kernel's own.
func processes() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		if _, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil { // a kernel thread has none
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitEnds waits until all those processes have ended, or until end.
func awaitEnds(pids []int, end time.Time) {
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended meanwhile
		}
		for {
			left := time.Until(end).Milliseconds()
			if left <= 0 {
				break
			}
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left))
			if err != unix.EINTR {
				break
			}
		}
		unix.Close(fd)
	}
}

// takesSignal says whether a process has a handler for a signal, or has it blocked to read it from a descriptor. Process 1
// is deaf to all others.
func takesSignal(pid, number int) bool {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigBlk" {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && mask&(1<<(number-1)) != 0 {
			return true
		}
	}
	return false
}

// mountPoints returns where disks are mounted, the innermost last mounted first.
func mountPoints() []string {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return []string{"/"}
	}
	var at []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "ext4" || f[2] == "overlay") {
			at = append([]string{f[1]}, at...)
		}
	}
	return at
}
