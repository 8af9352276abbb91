package procs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"banger/internal/model"
)

// Self returns the identity of the calling process.
func Self() (model.Process, error) { return Of(os.Getpid()) }

// Of returns the identity of the process that has pid now. It is ErrNotFound when there is none, or when only a zombie
// is left of it: a zombie holds no file, no lock and no memory.
func Of(pid int) (model.Process, error) {
	boot, err := BootID()
	if err != nil {
		return model.Process{}, err
	}
	start, err := startTime(pid)
	if err != nil {
		return model.Process{}, err
	}
	return model.Process{PID: pid, StartTime: start, BootID: boot}, nil
}

// BootID returns the id of the host's current boot.
func BootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the host's boot id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// Alive says whether p is a living process of this boot.
func Alive(p model.Process) bool {
	now, err := Of(p.PID)
	return err == nil && now == p
}

// startTime is ErrNotFound for a zombie.
func startTime(pid int) (uint64, error) {
	state, start, err := stat(pid)
	if err == nil && (state == 'Z' || state == 'X') {
		return 0, model.Errorf(model.ErrNotFound, "cannot find process %d: it has ended and waits for its parent", pid)
	}
	return start, err
}

// stat reads fields 3 and 22 of /proc/PID/stat. The second field, the command, can hold spaces and parentheses of the
// program's choice, so fields are counted from the last closing one.
func stat(pid int) (state byte, start uint64, err error) {
	if pid <= 0 {
		return 0, 0, model.Errorf(model.ErrNotFound, "cannot find process %d: no process has such a number", pid)
	}
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, 0, model.Errorf(model.ErrNotFound, "cannot find process %d: %w", pid, err)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read the state of process %d: %w", pid, err)
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:]) // from field 3 on
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("cannot read the state of process %d: /proc/%d/stat has %d fields after the command", pid, pid, len(fields))
	}
	start, err = strconv.ParseUint(string(fields[22-3]), 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	return fields[0][0], start, nil
}
