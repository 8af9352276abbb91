package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/model"
)

// tick is the unit of CPU times in /proc (USER_HZ, 100 on every Linux).
const tick = 10 * time.Millisecond

// cpuTime returns what a process has used so far, in user and kernel mode.
func cpuTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	text := string(raw)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // from field 3 of proc(5) on
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err
}

// busy is how long all processors of the host together have not been idle since its boot.
func busy() (time.Duration, error) {
	const idle, wait = 4, 5 // proc(5): fields of the line cpu
	fields := strings.Fields(firstLine("/proc/stat"))
	var sum int64
	for i, text := range fields[1:min(len(fields), 9)] { // a guest's time is in user's, too
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read /proc/stat: %w", err)
		}
		if i+1 != idle && i+1 != wait {
			sum += n
		}
	}
	return time.Duration(sum) * tick, nil
}

// memory returns one line of a process's accounts in bytes: "Pss" of smaps_rollup, "RssAnon" of status.
func memory(pid int, file, name string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("cannot find %s in /proc/%d/%s", name, pid, file)
}

// argvOf returns a process's arguments.
func argvOf(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), err
}

// handlesIn returns what banger knows of the host's part of the VM in dir.
func handlesIn(dir string) (h model.Handles, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, "handles.json"))
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(raw, &h)
}

// vmmPID returns the process that runs the VM in dir.
func vmmPID(dir string) (int, error) {
	h, err := handlesIn(dir)
	if err != nil {
		return 0, err
	}
	if h.VMM.PID == 0 {
		return 0, fmt.Errorf("no VMM runs in %s", dir)
	}
	return h.VMM.PID, nil
}

// exactCPUTime is cpuTime to the nanosecond, by the process's clock (clock_getcpuclockid(3)): the bits of its pid
// inverted, and the kernel's CPUCLOCK_SCHED.
func exactCPUTime(pid int) (time.Duration, error) {
	const sched = 2
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|sched), &ts)
	return time.Duration(ts.Nano()), err
}
