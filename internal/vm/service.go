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
	VMMs       []vmm.Driver      // in order of preference
	RootDisks  []rootdisk.Driver // likewise
	Networks   []network.Driver  // in order of preference among those that carry a policy
	Defaults   model.Spec
	RootDisk   string // the driver that a VM gets when it names none; "" for the first that goes with its VMM
	Network    string // the driver that a VM gets when it names none and this one carries its policy; "" for the first
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
