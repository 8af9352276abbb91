package netd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/procs"
)

// Main runs banger-netd and returns its exit code. What it has to say before its log is open goes to standard error and
// to whoever started it.
func Main() int {
	announce := procs.Starter() // before anything else opens descriptors
	harden()
	d, err := dirs.Default()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		err = Run(ctx, d, func() { announce("ready") })
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrRunning):
		announce("running")
		return 0
	}
	announce("error: " + err.Error())
	fmt.Fprintln(os.Stderr, "banger-netd:", err)
	return 1
}

// harden gives up what this process never needs: to gain privileges, and to show its memory, which holds what guests send
// and receive, to anybody.
func harden() {
	syscall.Umask(0o077)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	_ = os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0) // a core that is piped to a program has no size limit
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}
