package netd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"

	gvisor "gvisor.dev/gvisor/pkg/log"

	"banger/internal/dirs"
	"banger/internal/egress"
	"banger/internal/logfile"
	"banger/internal/model"
	"banger/internal/netd/link"
	"banger/internal/netd/names"
	"banger/internal/netd/port"
	"banger/internal/procs"
	"banger/internal/unixsocket"
)

const (
	maxLogBytes = 4 * model.MiB
	grace       = 5 * time.Second // without a VM and without a daemon
	resolvConf  = "/etc/resolv.conf"
	dnsPort     = "53"
)

// ErrRunning is what Run returns when another netd of this installation lives.
var ErrRunning = errors.New("a netd runs already")

// Run serves the network of an installation until ctx ends or nobody needs it. ready is called once it listens.
func Run(ctx context.Context, d dirs.Dirs, ready func()) (err error) {
	if err := d.CheckState(); err != nil {
		return err
	}
	lock, err := procs.TryLock(d.NetdLock())
	if errors.Is(err, model.ErrUnavailable) {
		return ErrRunning
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	logs, err := logfile.Open(d.NetdLog(), maxLogBytes)
	if err != nil {
		return err
	}
	defer logs.Close()
	log := slog.New(slog.NewTextHandler(logs, nil)).With("pid", os.Getpid())
	gvisor.SetTarget(&gvisor.GoogleEmitter{Writer: &gvisor.Writer{Next: logs}}) // guests can make it speak: capped, too
	log.Info("netd begins")
	defer func() { log.Info("netd ends", "error", fmt.Sprint(err)) }()

	dialer, err := link.NewDialer()
	if err != nil {
		return err
	}
	defer dialer.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	life := NewLife(grace, stop)
	defer life.Stop()
	network := New(port.Env{
		Dial: port.HostDial, Own: egress.IsOwnAddress, Host: names.NewHost(resolvConf, dnsPort), Dialer: dialer,
		Pin: pinsOf(d), Limits: port.DefaultLimits(openFiles()), Timeouts: port.DefaultTimeouts(), Log: log,
	}, life.Ports)
	defer network.Keep(nil)
	taps, err := unixsocket.Listen(d.NetdTaps())
	if err != nil {
		return err
	}
	handed := make(chan struct{})
	go func() {
		defer close(handed)
		serveTaps(taps, network, log)
	}()
	defer func() {
		_ = os.Remove(d.NetdTaps())
		taps.Close()
		<-handed
	}()
	return serve(ctx, d.NetdSocket(), NewServer(network, life, log), ready)
}

// openFiles is how many descriptors this process may have.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return limit.Cur // the Go runtime has raised it to the most that it may be
}

func serve(ctx context.Context, socket string, server *Server, ready func()) error {
	listener, err := unixsocket.Listen(socket)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ready()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	// The name goes before the listener, and both while the lock is held: whoever dials finds us, the next one, or nobody.
	_ = os.Remove(socket)
	_ = server.Close()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}
