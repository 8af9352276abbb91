package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"banger/internal/companion"
	"banger/internal/dirs"
	"banger/internal/image"
	"banger/internal/network/user"
	"banger/internal/procs"
	"banger/internal/vm"
)

// Main runs bangerd with its shipped drivers and returns its exit code. What it has to say before its log is open goes to
// standard error and to whoever started it.
func Main() int {
	hardenProcess()
	if len(os.Args) > 1 && os.Args[1] == user.TapCommand {
		if err := user.TapHelper(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	announce := procs.Starter() // before anything else opens descriptors
	d, err := dirs.Default()
	if err == nil {
		err = runShipped(d, announce)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrRunning):
		announce("running")
		return 0
	}
	announce("error: " + err.Error())
	fmt.Fprintln(os.Stderr, "bangerd:", err)
	return 1
}

func runShipped(d dirs.Dirs, announce func(string)) error {
	agent, err := companion.Find("banger-agent")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A terminal that goes away is no reason to end.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	return Run(ctx, Config{
		Dirs: d, Agent: agent, Drivers: Shipped, Tools: image.HostTools(), Limits: vm.DefaultLimits,
		Ready: func() {
			announce("ready")
			debug.FreeOSMemory() // what building took is not needed again
		},
	})
}

// hardenProcess makes what we and our children write ours alone and keeps memory out of core dumps.
func hardenProcess() {
	syscall.Umask(0o077)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
