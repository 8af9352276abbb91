package bridge

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"banger/internal/crash"
	"banger/internal/model"
	"banger/internal/network/bridge/zone"
)

// tellLimit is how long systemd-resolved may take to hear of us.
const tellLimit = 10 * time.Second

// names has this host's programs find the VMs by name. That it cannot stops no VM: it is in the log, and told by the doctor.
type names struct {
	verbs Verbs
	log   *slog.Logger
	zone  *zone.Server
	tasks sync.WaitGroup
	ctx   context.Context // ends with the driver
	end   context.CancelFunc

	told atomic.Bool // systemd-resolved asks at the sockets that are open

	mu      sync.Mutex // over what gives and takes names, so that the sockets are there exactly while there are any
	turn    int        // counts how often the sockets were opened or closed
	telling bool       // systemd-resolved is being told of the present ones
}

func newNames(verbs Verbs, log *slog.Logger) *names {
	n := &names{verbs: verbs, log: log, zone: zone.New(log)}
	n.ctx, n.end = context.WithCancel(context.Background())
	return n
}

// set gives a VM whose port is there its name, and has it answered for.
func (n *names) set(ctx context.Context, id model.VMID, name string, address netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return
	}
	err := n.zone.Set(id, name, address)
	if err == nil && !n.zone.Serving() {
		err = n.listen(ctx)
	}
	if err != nil {
		n.log.Warn("a VM is not known by its name on this host", "vm", string(id), "error", err)
		return
	}
	n.tell()
}

// listen opens the sockets. The caller holds the lock.
func (n *names) listen(ctx context.Context) error {
	crash.At("bridge.names.before")
	at, err := n.verbs.ListenNames(ctx)
	if err == nil {
		n.zone.Serve(at.UDP, at.TCP)
		n.again()
	}
	crash.At("bridge.names.listening")
	return err
}

// again is for sockets that are others than before, or gone. The caller holds the lock.
func (n *names) again() {
	n.turn++
	n.telling = false
	n.told.Store(false)
}

// tell has systemd-resolved told, in the background: no VM waits for it. The caller holds the lock.
func (n *names) tell() {
	if n.telling || n.told.Load() {
		return
	}
	n.telling = true
	turn := n.turn
	n.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, tellLimit)
		defer cancel()
		err := n.verbs.TellResolved(ctx)
		crash.At("bridge.names.told")
		n.mu.Lock()
		defer n.mu.Unlock()
		if turn != n.turn || n.ctx.Err() != nil {
			return // of a bridge that is gone
		}
		n.telling = false
		n.told.Store(err == nil)
		if err != nil {
			n.log.Info("programs of this host do not find VMs by name; see: banger doctor", "error", err)
		}
	})
}

// remove takes a VM's name away, before its address is another's.
func (n *names) remove(id model.VMID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rest(n.zone.Remove(id))
}

// keep takes the names of all others away.
func (n *names) keep(keep map[model.VMID]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rest(n.zone.Keep(keep))
}

// rest has nobody answered when no VM has a name: the bridge is about to go, and what systemd-resolved was told with it.
// The caller holds the lock.
func (n *names) rest(left int) {
	if left == 0 && n.zone.Serving() {
		n.zone.Close()
		n.again()
	}
}

// hostName is what this host's programs find a VM by now.
func (n *names) hostName(id model.VMID) string {
	if !n.told.Load() {
		return ""
	}
	return n.zone.HostName(id)
}

func (n *names) close() {
	n.mu.Lock()
	n.end()
	n.mu.Unlock()
	n.tasks.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone.Close()
}
