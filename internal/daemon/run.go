package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"banger/internal/dirs"
	"banger/internal/image"
	"banger/internal/logfile"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/operation"
	"banger/internal/procs"
	"banger/internal/rootdisk"
	"banger/internal/server"
	"banger/internal/store"
	"banger/internal/unixsocket"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// maxLogBytes caps the daemon's log.
const maxLogBytes = 16 * model.MiB

// shutdownLimit is how long a stopping daemon waits for what runs.
const shutdownLimit = 5 * time.Second

// ErrRunning is what Run returns when another daemon of this installation lives.
var ErrRunning = errors.New("a daemon runs already")

// Host is what a daemon asks of its host to build the drivers.
type Host struct {
	Dirs     dirs.Dirs
	Instance model.InstanceID
	Log      *slog.Logger
	ReadOnly bool // only asks: nothing that is found out is kept

	Firecracker FirecrackerConfig // what the user says of it
}

// Drivers are the ways to run a VM, in order of preference. Tests give others than the shipped ones.
type Drivers struct {
	VMMs      []vmm.Driver
	RootDisks []rootdisk.Driver
	Networks  []network.Driver
	Close     func() error // lets go of what they hold on the host; nil for nothing
}

// Config is what Run needs to be told.
type Config struct {
	Dirs    dirs.Dirs
	Agent   string             // the banger-agent binary that goes into guests
	Drivers func(Host) Drivers // shipped, or a test's
	Tools   image.Tools        // what the default image and kernel are made with: the host's, or a test's
	Limits  vm.Limits
	Ready   func() // called once the daemon serves
}

// Run is the daemon: it builds everything in order, serves until ctx ends or a client asks it to stop, and takes it apart
// in reverse. VMs are left as they are. It returns ErrRunning when another daemon holds the installation's lock.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.Dirs.Secure(); err != nil {
		return err
	}
	lock, err := procs.TryLock(c.Dirs.Lock())
	if errors.Is(err, model.ErrUnavailable) {
		return ErrRunning
	}
	if err != nil {
		return err
	}
	defer lock.Close()

	logs, err := logfile.Open(c.Dirs.Log(), maxLogBytes)
	if err != nil {
		return err
	}
	defer logs.Close()
	log := slog.New(operation.Handler(slog.NewTextHandler(logs, nil), model.NewOperationID())).With("pid", os.Getpid())
	log.Info("the daemon begins", "state", c.Dirs.State)
	defer func() { log.Info("the daemon ends", "error", fmt.Sprint(err)) }()

	instance, err := c.Dirs.Instance()
	if err != nil {
		return err
	}
	defaults, err := loadDefaults(c.Dirs.ConfigFile())
	if err != nil {
		return err
	}
	limits, err := loadLimits(c.Dirs.ConfigFile())
	if err != nil {
		return err
	}
	firecracker, err := loadFirecracker(c.Dirs.ConfigFile())
	if err != nil {
		return err
	}
	rows, err := store.Open(ctx, c.Dirs.Database())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()

	images := image.New(image.Options{
		Dirs: image.Dirs{Data: c.Dirs.Data, Cache: c.Dirs.Cache}, Catalog: rows, Owner: string(instance),
		Agent: c.Agent, Limits: limits, Tools: c.Tools, Log: log,
	})
	operations := operation.NewRunner(rows, log)
	drivers := c.Drivers(Host{Dirs: c.Dirs, Instance: instance, Log: log, Firecracker: firecracker})
	if drivers.Close != nil {
		defer func() { err = errors.Join(err, drivers.Close()) }()
	}
	rootDisk, err := loadRootDisk(c.Dirs.ConfigFile(), drivers.RootDisks)
	if err != nil {
		return err
	}
	carrier, err := loadNetwork(c.Dirs.ConfigFile(), drivers.Networks)
	if err != nil {
		return err
	}
	vms := vm.New(vm.Options{
		Dirs: c.Dirs, Store: rows, Images: images, Operations: operations,
		VMMs: drivers.VMMs, RootDisks: drivers.RootDisks, Networks: drivers.Networks,
		Defaults: defaults, RootDisk: rootDisk, Network: carrier, Limits: c.Limits, Log: log,
	})
	defer vms.Close()
	defer closeOperations(operations, log)

	if err := images.Adopt(ctx); err != nil {
		log.Error("cannot adopt the images of the data directory", "error", err)
	}
	// What cannot be settled is in the log and in the VMs' last errors; the rest is served.
	if err := vms.Reconcile(ctx); err != nil {
		log.Error("not everything could be settled", "error", err)
	}
	if err := images.Sweep(ctx); err != nil {
		log.Error("cannot sweep the images", "error", err)
	}
	ctx, stop := context.WithCancel(ctx)
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	defer stop()
	sweeping.Go(func() {
		if err := images.SweepAgain(ctx); err != nil && ctx.Err() == nil {
			log.Error("cannot sweep the images", "error", err)
		}
	})
	handler := server.New(server.Options{
		VMs: vms, Networks: vms, Images: images, Operations: operations, Stop: stop, Log: log,
		Status: func(ctx context.Context) server.Status { return status(ctx, c, instance, drivers, vms) },
	})
	return serve(ctx, c, handler, log)
}

// serve answers clients until ctx ends. A socket that somebody removed is made again.
func serve(ctx context.Context, c Config, handler *server.Server, log *slog.Logger) error {
	socket := c.Dirs.Socket()
	listener, err := unixsocket.Listen(socket)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(socket) }()
	failed := make(chan error, 1)
	go func() { failed <- handler.Serve(listener) }()
	go func() {
		if err := watchRemoval(ctx, socket, func() {
			log.Warn("the socket was removed; making it again")
			again, err := unixsocket.Listen(socket)
			if err != nil {
				log.Error("cannot make the socket again", "error", err)
				return
			}
			go func() { failed <- handler.Serve(again) }()
		}); err != nil {
			log.Error("cannot watch the socket", "error", err)
		}
	}()
	if c.Ready != nil {
		c.Ready()
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = nil
	}
	shutdown, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if shutdownErr := handler.Shutdown(shutdown); shutdownErr != nil {
		log.Warn("some clients were cut off", "error", shutdownErr)
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func closeOperations(operations *operation.Runner, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := operations.Close(ctx); err != nil {
		log.Warn("some operations were cut off; the next daemon settles them", "error", err)
	}
}

func status(ctx context.Context, c Config, instance model.InstanceID, drivers Drivers, vms *vm.Service) server.Status {
	s := server.Status{
		Dirs: c.Dirs, Instance: instance, VMMs: driverNames(drivers.VMMs), RootDisks: driverNames(drivers.RootDisks),
		Networks: driverNames(drivers.Networks),
	}
	choice, err := vms.Default(ctx)
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	s.VMM, s.Accel, s.Slow = choice.VMM, choice.Features.Accel, choice.Features.Warning()
	return s
}
