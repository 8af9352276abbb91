// Command host boots the lab, a Debian virtual machine with KVM, device-mapper and systemd of its own, and has scenarios,
// a command or a shell run in it.
//
//	host test      the scenarios; -run picks some by name
//	host exec      one line for bash, as root
//	host shell     a shell on this terminal, as root
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// options are what the command line says.
type options struct {
	payload string        // directory whose content is given to the lab
	run     string        // regular expression over the scenarios' names
	notRun  string        // file to add those to that were not run, and why
	labs    int           // that run scenarios at once
	limit   time.Duration // of exec
	cover   string        // directory to add coverage to
}

func main() {
	// QEMU ends with the thread that started it: the first one, which lives as long as the process.
	runtime.LockOSThread()
	var o options
	flags := flag.NewFlagSet("host", flag.ExitOnError)
	flags.StringVar(&o.payload, "payload", "", "directory with the lab's programs")
	flags.StringVar(&o.run, "run", "", "which scenarios, by a regular expression")
	flags.IntVar(&o.labs, "labs", labsHere(), "how many labs run scenarios at once")
	flags.StringVar(&o.notRun, "notrun", "", "file to add what was not run to")
	flags.StringVar(&o.cover, "cover", "", "directory to add coverage data to")
	flags.DurationVar(&o.limit, "limit", 10*time.Minute, "how long a command may take")
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: host test|exec|shell [options] [command]")
		os.Exit(2)
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	code, err := dispatch(ctx, os.Args[1], o, flags.Args())
	interrupted := ctx.Err() != nil
	stop()
	if err != nil {
		if interrupted {
			err = errors.Join(err, errors.New("interrupted"))
		}
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// labsHere is how many labs this host has room for: each keeps one processor busy, and has 4 GiB of memory beside the host's
// cache of its disks.
func labsHere() int {
	const most, each = 4, 6 << 30
	labs := min(runtime.NumCPU(), most)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		labs = min(labs, int(info.Totalram*uint64(info.Unit)/each))
	}
	return max(labs, 1)
}

func dispatch(ctx context.Context, verb string, o options, args []string) (int, error) {
	// Whoever runs us may be killed; the lab must not outlive that.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return 1, err
	}
	switch verb {
	case "test":
		return test(ctx, o)
	case "exec":
		return execute(ctx, o, args)
	case "shell":
		return shell(ctx, o)
	}
	return 2, fmt.Errorf("there is no %q: test, exec and shell are", verb)
}
