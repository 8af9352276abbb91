package netd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/netd/names"
	"banger/internal/procs"
	"banger/internal/version"
)

// Main runs banger-netd and returns its exit code. What it has to say before its log is open goes to standard error and
// to whoever started it.
//
// With an argument it serves nobody: --version prints its version, and check says, as a JSON list of model.Check, whether
// this host has what it needs.
func Main(args []string) int {
	if len(args) > 0 {
		return tell(args)
	}
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

func tell(args []string) int {
	var err error
	switch {
	case slices.Equal(args, []string{"--version"}):
		_, err = fmt.Fprintln(os.Stdout, version.Version)
	case slices.Equal(args, []string{"check"}):
		err = json.NewEncoder(os.Stdout).Encode(check())
	default:
		fmt.Fprintf(os.Stderr, "banger-netd: cannot do %q: it is started by bangerd and takes no arguments but check and --version\n", args)
		return 2
	}
	if err != nil {
		return 1
	}
	return 0
}

// check looks at what netd takes from the host.
func check() []model.Check {
	host := names.NewHost(resolvConf, dnsPort)
	return []model.Check{
		model.CheckOf("resolver", host.Check(), "VMs' names are looked up by "+strings.Join(host.Servers(), ", ")).AtMost(model.CheckWarning),
	}
}

// harden gives up what this process never needs: to gain privileges, and to show its memory, which holds what guests send
// and receive, to anybody.
func harden() {
	syscall.Umask(0o077)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	_ = os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0) // a core that is piped to a program has no size limit
	_, _, _ = syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}
