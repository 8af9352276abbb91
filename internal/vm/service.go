package vm

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"banger/internal/dirs"
	"banger/internal/image"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/operation"
	"banger/internal/rootdisk"
	"banger/internal/store"
	"banger/internal/vmm"
)

// Limits are the times that the service waits at most; tests shorten them.
type Limits struct {
	Boot     time.Duration // from the VMM's start until the guest is ready
	Stop     time.Duration // default grace of a stop
	Lease    time.Duration // how long a leased VM is kept without a holder
	Teardown time.Duration // for taking away what a VM had on the host
}

// DefaultLimits are the ones of a real host. A software-emulated guest on a host whose every core is busy boots in tens
// of seconds, hence the generous Boot.
var DefaultLimits = Limits{Boot: 2 * time.Minute, Stop: 10 * time.Second, Lease: 10 * time.Second, Teardown: 30 * time.Second}

// Options are what a Service is made of; all are finished values that outlive it.
type Options struct {
	Dirs       dirs.Dirs
	Store      *store.Store
	Images     *image.Service
	Operations *operation.Runner
	VMMs       []vmm.Driver // in order of preference
	RootDisks  []rootdisk.Driver
	Networks   []network.Driver // in order of preference among those that carry a policy
	Defaults   model.Spec
	Limits     Limits
	Log        *slog.Logger
}

// Service is the VM service. It holds no VM alive: what it knows of running ones is a cache over the host.
type Service struct {
	Options

	mu      sync.Mutex
	entries map[model.VMID]*entry
	wg      sync.WaitGroup // watchers, console pumps, resumed work
	ctx     context.Context
	stop    context.CancelFunc
}

// New returns a Service. Reconcile must be called once before it serves.
func New(o Options) *Service {
	ctx, stop := context.WithCancel(context.Background())
	return &Service{Options: o, entries: map[model.VMID]*entry{}, ctx: ctx, stop: stop}
}

// Close lets go of every VM without disturbing it and waits for the service's own goroutines.
func (s *Service) Close() {
	s.stop()
	s.mu.Lock()
	entries := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		entries = append(entries, e)
	}
	s.mu.Unlock()
	for _, e := range entries {
		e.release()
	}
	s.wg.Wait()
}

// DefaultVMM returns the driver that a new VM gets when it names none, with what it can do here: the first that runs on
// this host, or an ErrUnsupported that says what each of them lacks.
func (s *Service) DefaultVMM(ctx context.Context) (vmm.Driver, vmm.Features, error) {
	var problem string
	for _, d := range s.VMMs {
		f := d.Features(ctx)
		if f.Problem == "" {
			return d, f, nil
		}
		if problem == "" {
			problem = f.Problem
		}
	}
	return nil, vmm.Features{}, model.Errorf(model.ErrUnsupported, "cannot run virtual machines here: %s", problem)
}

func (s *Service) vmm(name string) (vmm.Driver, error) {
	for _, d := range s.VMMs {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, unknownDriver("VMM", name)
}

func (s *Service) rootDisk(name string) (rootdisk.Driver, error) {
	for _, d := range s.RootDisks {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, unknownDriver("root disk driver", name)
}

func (s *Service) network(name string) (network.Driver, error) {
	for _, d := range s.Networks {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, unknownDriver("network driver", name)
}

func unknownDriver(what, name string) error {
	return model.Errorf(model.ErrUnsupported, "this banger has no %s called %q", what, name)
}
