// Package helper is banger-helper: the privileged verbs, each service in a process of its own with no more than its
// capabilities.
package helper

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"banger/internal/helper/jailcall"
	"banger/internal/helper/netcall"
	"banger/internal/helper/serve"
	"banger/internal/helper/storagecall"
	"banger/internal/model"
	"banger/internal/version"
)

// idle is how long a helper that nobody asks goes on; systemd starts another for the next call.
const idle = time.Minute

// Services are what a banger-helper can be, with the verbs of each.
func Services() map[string][]serve.Verb {
	vms := &serve.VMs{} // nobody takes a VM's disk away while its jail is made
	return map[string][]serve.Verb{
		storagecall.Service: append(storagecall.Verbs(vms, storagecall.OnHost), jailcall.Verbs(vms, jailcall.OnHost)...),
		netcall.Service:     netcall.Verbs(netcall.OnHost),
	}
}

// Main runs banger-helper and returns its exit code. It takes the name of a service and --owner, the uid of the one user
// whom it serves, and is given the socket by systemd (sd_listen_fds(3)). --version prints its version.
func Main(args []string) int {
	if slices.Equal(args, []string{"--version"}) {
		fmt.Fprintln(os.Stdout, version.Version)
		return 0
	}
	harden()
	var owner int
	flags := flag.NewFlagSet("banger-helper SERVICE", flag.ContinueOnError)
	flags.IntVar(&owner, "owner", 0, "uid of the user to serve")
	if len(args) == 0 || flags.Parse(args[1:]) != nil {
		fmt.Fprintln(os.Stderr, "banger-helper: systemd starts it, with a service and --owner; see: banger system status")
		return 2
	}
	if err := run(args[0], owner); err != nil {
		fmt.Fprintln(os.Stderr, "banger-helper:", err)
		return 1
	}
	return 0
}

func run(service string, owner int) error {
	verbs, known := Services()[service]
	switch {
	case !known:
		return model.Errorf(model.ErrInvalid, "cannot be the service %q", service)
	case owner <= 0:
		return model.Errorf(model.ErrInvalid, "cannot serve uid %d: root needs no helper", owner)
	}
	listener, err := passed()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// systemd's journal has the time.
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("the helper begins", "service", service, "owner", owner, "version", version.Version, "verbs", strings.Join(names(verbs), " "))
	return serve.Service{Name: service, Owner: owner, Verbs: verbs, Idle: idle, Log: log}.Serve(ctx, listener)
}

func names(verbs []serve.Verb) []string {
	all := make([]string, len(verbs))
	for i, v := range verbs {
		all[i] = v.Name()
	}
	return all
}

// harden makes what it writes root's alone and keeps its memory out of core dumps.
func harden() {
	syscall.Umask(0o077)
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
