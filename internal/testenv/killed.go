package testenv

import (
	"os/exec"
	"syscall"
)

// Killed says whether a process that was waited for was ended by SIGKILL, as one is at a point of package crash.
func Killed(cmd *exec.Cmd) bool {
	if cmd.ProcessState == nil { // it was never started
		return false
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
