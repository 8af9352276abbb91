// Package bridge is the network driver on the host's own network: the kernel carries the packets, from a tap of each VM
// over a bridge of the installation, and its rules decide what a VM reaches. No process is in the way.
//
// What needs root is done by verbs, which are given ids, slots and policies: a daemon that is root has them itself, an
// ordinary user's asks the privileged helper. The driver itself keeps the VMs' names, for which it answers this host's
// programs while the daemon lives.
//
// What the kernel does not do, a process of the user's does beside it, to which the rules lead: it answers the VMs' questions
// for names, has them reach what of the host's loopback is opened, and publishes their ports.
package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"

	"banger/internal/crash"
	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/resolvconf"
)

// Verbs are what needs root. Each may be called again after a crash at any point of it.
type Verbs interface {
	// Problem says why there are no taps and rules here, with what would help, or is "".
	Problem() string
	// Attach makes the VM's port, or changes its rules in one transaction.
	Attach(ctx context.Context, id model.VMID, slot int, want hostnet.Rules) (hostnet.Port, error)
	// Open opens the VM's tap, which nobody else may have open.
	Open(ctx context.Context, id model.VMID) (*os.File, error)
	// Detach takes the port away; that there is none is success. Unless it was the last, its tap is left to Recycle.
	Detach(ctx context.Context, id model.VMID) error
	// Sweep takes away all that is of no VM in keep.
	Sweep(ctx context.Context, keep map[model.VMID]bool) error
	// Recycle removes the taps that are left, which takes the kernel longest; nothing else waits for it.
	Recycle(ctx context.Context) error
	// Prepare has taps ready for the next VMs, while there is any.
	Prepare(ctx context.Context) error
	// List tells what there is of this installation's, whole or not.
	List(ctx context.Context) (hostnet.Found, error)
	// Obstacles tells of the rules of others that are in the way.
	Obstacles(ctx context.Context) ([]hostnet.Obstacle, error)
	// Denials lists what was refused to a VM lately, newest first.
	Denials(ctx context.Context, id model.VMID) ([]hostnet.Denial, error)
	// ListenNames opens the sockets at which this host asks for the names of VMs.
	ListenNames(ctx context.Context) (hostnet.Sockets, error)
	// TellResolved has systemd-resolved ask there, as long as the bridge is there; an ErrUnavailable where it does not run.
	TellResolved(ctx context.Context) error
	// LookNames tells what this host does for the names of VMs.
	LookNames(ctx context.Context) (hostnet.Names, error)
}

// Options are what a Driver needs.
type Options struct {
	Verbs     Verbs
	Publisher Publisher
	Log       *slog.Logger
}

// Driver implements network.Driver.
type Driver struct {
	o     Options
	names *names
	told  tellings
	pool  *pool

	setting sync.Mutex // held while a VM's port and what is done beside it are changed, so that both are of one wish

	mu    sync.Mutex // over the beginning of tasks, so that none begins when they end
	tasks sync.WaitGroup
	ctx   context.Context // ends with the driver
	end   context.CancelFunc
}

var (
	_ network.Driver    = (*Driver)(nil)
	_ network.Explainer = (*Driver)(nil)
	_ network.Opener    = (*Driver)(nil)
	_ network.Needer    = (*Driver)(nil)
	_ network.Namer     = (*Driver)(nil)
)

// New returns a driver, to be closed. It touches nothing.
func New(o Options) *Driver {
	d := &Driver{o: o, names: newNames(o.Verbs, o.Log), pool: newPool(o.Verbs, o.Log)}
	d.ctx, d.end = context.WithCancel(context.Background())
	o.Publisher.Watch(d.renew)
	return d
}

// Close ceases to answer for the VMs' names, and ends what goes on in the background. The VMs, and their network, go on.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.end()
	d.mu.Unlock()
	d.tasks.Wait()
	d.names.close()
	d.pool.close()
	return nil
}

// Name implements network.Driver.
func (*Driver) Name() string { return "bridge" }

// Problem implements network.Needer.
func (d *Driver) Problem() string { return d.o.Verbs.Problem() }

// Carries implements network.Driver.
func (*Driver) Carries(w network.Wants) bool {
	_, err := model.ParsePolicy(w.Policy)
	return err == nil
}

// Links implements network.Driver.
func (*Driver) Links() []network.LinkKind {
	return []network.LinkKind{network.LinkOpenTap, network.LinkWire, network.LinkTap}
}

// Set implements network.Driver.
func (d *Driver) Set(ctx context.Context, id model.VMID, s network.Spec) (network.Link, error) {
	if err := ctx.Err(); err != nil {
		return network.Link{}, model.HostErrorf(err, "cannot set the network")
	}
	policy, err := model.ParsePolicy(s.Policy)
	if err != nil {
		return network.Link{}, err
	}
	if !slices.Contains(d.Links(), s.Kind) {
		return network.Link{}, model.Errorf(model.ErrInvalid, "cannot make a link of kind %d", s.Kind)
	}
	defer d.pool.tend()
	d.setting.Lock()
	defer d.setting.Unlock()
	crash.At("bridge.set.before")
	t, ports, err := d.attach(ctx, id, s, policy)
	if err != nil {
		return network.Link{}, err
	}
	port := t.port
	d.names.set(ctx, id, s.Name, port.Address)
	d.told.set(id, t)
	crash.At("bridge.set.after")
	link := network.Link{
		Kind: s.Kind, Tap: port.Tap, MAC: port.MAC, MTU: port.MTU,
		// The guest is alone in its network, so that whatever it sends goes to the gateway.
		Address: netip.PrefixFrom(port.Address, 32), Gateway: port.Gateway, DNS: []netip.Addr{port.Gateway},
		Ports:   ports,
		Handles: model.NetHandles{Tap: port.Tap},
	}
	if policy.Kind != model.KindNone {
		link.Search = resolvconf.Search()
	}
	return link, nil
}

// HostName implements network.Namer.
func (d *Driver) HostName(id model.VMID) string { return d.names.hostName(id) }

// Open implements network.Opener.
func (d *Driver) Open(ctx context.Context, id model.VMID) (*os.File, error) {
	return d.o.Verbs.Open(ctx, id)
}

// Up implements network.Driver: the tap is up before the VMM runs.
func (*Driver) Up(context.Context, model.VMID, model.Process) error { return nil }

// Clear implements network.Driver. The port is found by the VM's id, whatever the hint says.
func (d *Driver) Clear(ctx context.Context, id model.VMID, _ model.NetHandles) error {
	crash.At("bridge.clear.before")
	d.names.remove(id)
	crash.At("bridge.clear.unnamed")
	defer d.pool.tend()
	d.setting.Lock()
	defer d.setting.Unlock()
	d.told.keep(func(other model.VMID) bool { return other != id })
	// What is published goes first: the address may be another VM's then.
	err := d.o.Publisher.Withdraw(ctx, id)
	crash.At("bridge.clear.withdrawn")
	err = errors.Join(err, d.unlessNothing(ctx, d.o.Verbs.Detach(ctx, id)))
	crash.At("bridge.clear.after")
	return err
}

// Sweep implements network.Driver.
func (d *Driver) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	crash.At("bridge.sweep.before")
	d.names.keep(keep)
	crash.At("bridge.sweep.unnamed")
	defer d.pool.tend()
	d.setting.Lock()
	defer d.setting.Unlock()
	d.told.keep(func(id model.VMID) bool { return keep[id] })
	err := d.unlessNothing(ctx, d.o.Verbs.Sweep(ctx, keep))
	crash.At("bridge.sweep.after")
	return err
}

// unlessNothing forgives whoever may not take anything away, unless it can be seen that there is something.
func (d *Driver) unlessNothing(ctx context.Context, err error) error {
	if !errors.Is(err, model.ErrDenied) {
		return err
	}
	found, lerr := d.o.Verbs.List(ctx)
	if errors.Is(lerr, model.ErrDenied) || lerr == nil && found.Bridge == "" && len(found.Ports) == 0 {
		return nil // who may not look made nothing
	}
	return err
}
