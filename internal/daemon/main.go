package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"

	"banger/internal/companion"
	"banger/internal/dirs"
	"banger/internal/image"
	"banger/internal/network/user"
	"banger/internal/procs"
	"banger/internal/version"
	"banger/internal/vm"
)

// agentProgram becomes the /init of every guest.
const agentProgram = "banger-agent"

// Main runs bangerd with its shipped drivers and returns its exit code. What it has to say before its log is open goes to
// standard error and to whoever started it.
//
// With an argument it is no daemon: --version prints its version, and doctor, a model.Diagnosis of this host as JSON.
func Main(args []string) int {
	hardenProcess()
	if len(args) > 0 && args[0] == user.TapCommand {
		if err := user.TapHelper(args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if len(args) > 0 {
		return tell(args)
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
	agent, err := companion.Find(agentProgram)
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

// tell answers what bangerd is asked by an argument. What takes long says so on standard error.
func tell(args []string) int {
	var c DoctorConfig
	flags := flag.NewFlagSet("bangerd doctor", flag.ContinueOnError)
	flags.StringVar(&c.Client, "client", "", "version of the banger that asks")
	flags.BoolVar(&c.Verify, "verify", false, "read every byte of the images and kernels")
	flags.BoolVar(&c.Leaks, "leaks", false, "look for what no VM accounts for")
	switch {
	case slices.Equal(args, []string{"--version"}):
		fmt.Fprintln(os.Stdout, version.Version)
		return 0
	case args[0] != "doctor":
		fmt.Fprintf(os.Stderr, "bangerd: cannot do %q: it is started by banger and takes no arguments but doctor and --version\n", args)
		return 2
	case flags.Parse(args[1:]) != nil:
		return 2
	}
	var err error
	if c.Dirs, err = dirs.Default(); err == nil {
		c.Drivers, c.Programs = Shipped, []string{agentProgram, "banger-netd"}
		c.Progress = func(line string) { fmt.Fprintln(os.Stderr, line) }
		err = json.NewEncoder(os.Stdout).Encode(Doctor(context.Background(), c))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bangerd:", err)
		return 1
	}
	return 0
}

// hardenProcess makes what we and our children write ours alone and keeps memory out of core dumps.
func hardenProcess() {
	syscall.Umask(0o077)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
