// Package user is the network driver for which nobody needs to be root: banger-netd carries the packets of all VMs of an
// installation.
//
// The driver tells netd what each VM's port shall be, and remembers that, for as long as this process lives, only to tell
// it again: netd outlives the daemon, and a netd that died is started again with all that it was told. For another driver,
// whose packets the kernel carries, it has netd publish ports, answer questions for names and open ports of the host.
package user

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	netdv1 "banger/api/netd/v1"
	"banger/internal/atomicfile"
	"banger/internal/crash"
	"banger/internal/dirs"
	"banger/internal/model"
	"banger/internal/network"
)

const (
	// answerTime is what netd may take for the answer to a change; none needs more than a moment. One that takes longer
	// hangs, and is replaced: that costs its VMs their open connections, and leaves them a network.
	answerTime = 10 * time.Second
	// questionTime is what it may take for a question, which may be about a name that no resolver answers.
	questionTime = 20 * time.Second
)

// Options are what a Driver is made of.
type Options struct {
	Dirs     dirs.Dirs
	Instance model.InstanceID
	Program  string // banger-netd; "" for the one that lies beside this program or in ../libexec/banger
	Jails    Jails  // nil where there are none
	Log      *slog.Logger
}

// Driver implements network.Driver and network.Explainer.
type Driver struct {
	options Options

	setting sync.Mutex // held while netd is told of a port, so that it is told in the order of what is remembered

	mu     sync.Mutex // guards what follows
	ports  map[model.VMID]*netdv1.Port
	kinds  map[model.VMID]network.LinkKind // of the links whose ports these are
	netd   *netd                           // that answered last; nil for none
	moved  func(id model.VMID)             // see Watch; nil for nobody
	closed bool

	dialing chan struct{} // held while netd is looked for or started
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

var (
	_ network.Driver    = (*Driver)(nil)
	_ network.Explainer = (*Driver)(nil)
)

// New returns a driver. It starts nothing before the first VM needs it.
func New(o Options) *Driver {
	ctx, stop := context.WithCancel(context.Background())
	return &Driver{options: o, ports: map[model.VMID]*netdv1.Port{}, kinds: map[model.VMID]network.LinkKind{}, dialing: make(chan struct{}, 1), ctx: ctx, stop: stop}
}

// Close lets go of netd, which goes on for the VMs that live and ends when there are none.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	n := d.netd
	d.netd = nil
	d.mu.Unlock()
	d.stop()
	if n != nil {
		n.close()
	}
	d.wg.Wait()
	return nil
}

// Name implements network.Driver.
func (*Driver) Name() string { return "user" }

// Carries implements network.Driver. With the policy none the guest has an interface that leads nowhere.
func (*Driver) Carries(w network.Wants) bool {
	_, err := model.ParsePolicy(w.Policy)
	return err == nil
}

// Links implements network.Driver.
func (d *Driver) Links() []network.LinkKind {
	if d.options.Jails == nil {
		return []network.LinkKind{network.LinkSocket, network.LinkOwnTap}
	}
	return []network.LinkKind{network.LinkSocket, network.LinkJailTap, network.LinkOwnTap}
}

// Set implements network.Driver. netd is started when none runs.
func (d *Driver) Set(ctx context.Context, id model.VMID, s network.Spec) (network.Link, error) {
	if err := ctx.Err(); err != nil {
		return network.Link{}, model.HostErrorf(err, "cannot set the network")
	}
	if _, err := model.ParsePolicy(s.Policy); err != nil {
		return network.Link{}, err
	}
	if !slices.Contains(d.Links(), s.Kind) {
		return network.Link{}, model.Errorf(model.ErrInvalid, "cannot make a link of kind %d", s.Kind)
	}
	link, err := linkOf(d.options.Instance, s)
	if err != nil {
		return link, err
	}
	port := portOf(id, s, link)
	crash.At("user.set.before")
	wants, err := d.set(ctx, id, s, port)
	if err == nil {
		link.Ports, err = forwardsOf(port.GetForwards(), s.Ports)
	}
	if err == nil && wants {
		err = d.attach(ctx, port)
	}
	if err != nil {
		return network.Link{}, err
	}
	crash.At("user.set.after")
	link.Search = searchDomains(s.Policy)
	return link, nil
}

// set tells netd of a port and remembers it, with the host's ports that were taken. wants says that netd has no hold on the
// port's tap.
func (d *Driver) set(ctx context.Context, id model.VMID, s network.Spec, port *netdv1.Port) (wants bool, err error) {
	d.setting.Lock()
	defer d.setting.Unlock()
	d.keepHostPorts(id, port)
	d.keepTap(id, port)
	answer, err := d.tell(ctx, port)
	if err != nil {
		return false, err
	}
	crash.At("user.set.told")
	port.Forwards = answer.GetForwards()
	d.mu.Lock()
	d.ports[id], d.kinds[id] = port, s.Kind
	d.mu.Unlock()
	return answer.GetWantsTap() && port.GetTap() != nil, nil
}

// keepHostPorts gives forwards for any free port of the host the one that they have.
func (d *Driver) keepHostPorts(id model.VMID, port *netdv1.Port) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, had := range d.ports[id].GetForwards() {
		named := func(f *netdv1.Forward) bool {
			return f.GetHostPort() == had.GetHostPort() && f.GetUdp() == had.GetUdp()
		}
		if slices.ContainsFunc(port.Forwards, named) {
			continue
		}
		for _, f := range port.Forwards {
			if f.GetHostPort() == 0 && f.GetGuestPort() == had.GetGuestPort() && f.GetUdp() == had.GetUdp() && f.GetHostIp() == had.GetHostIp() {
				f.HostPort = had.GetHostPort()
				break
			}
		}
	}
}

// keepTap leaves a VM's tap as it is.
func (d *Driver) keepTap(id model.VMID, port *netdv1.Port) {
	d.mu.Lock()
	defer d.mu.Unlock()
	port.Tap = d.ports[id].GetTap()
}

func (d *Driver) tell(ctx context.Context, port *netdv1.Port) (answer *netdv1.SetResponse, err error) {
	err = d.change(ctx, "cannot set the network", true, func(ctx context.Context, n *netd) (err error) {
		answer, err = n.rpc.Set(ctx, &netdv1.SetRequest{Port: port})
		return err
	})
	return answer, err
}

// Up implements network.Driver. netd connects to a VMM's socket by itself; where a tap is, it must be told.
func (d *Driver) Up(ctx context.Context, id model.VMID, p model.Process) error {
	port, wants, err := d.tellTap(ctx, id, p)
	if err == nil && wants {
		err = d.attach(ctx, port)
	}
	crash.At("user.up.after")
	return err
}

// tellTap tells netd whose the tap of a VM is, where it has one.
func (d *Driver) tellTap(ctx context.Context, id model.VMID, p model.Process) (port *netdv1.Port, wants bool, err error) {
	d.setting.Lock()
	defer d.setting.Unlock()
	d.mu.Lock()
	port, kind := proto.CloneOf(d.ports[id]), d.kinds[id]
	d.mu.Unlock()
	if port == nil || kind == network.LinkSocket {
		return nil, false, nil
	}
	port.Tap = &netdv1.Tap{Name: tapName, Pid: int32(p.PID), StartTime: p.StartTime, BootId: p.BootID}
	crash.At("user.up.before")
	answer, err := d.tell(ctx, port)
	if err != nil {
		return nil, false, err
	}
	crash.At("user.up.told")
	d.mu.Lock()
	d.ports[id] = port
	d.mu.Unlock()
	return port, answer.GetWantsTap(), nil
}

// Clear implements network.Driver. Where no netd runs there is no port. The socket that the VMM listened on goes, too: one
// that was killed has not removed it.
func (d *Driver) Clear(ctx context.Context, id model.VMID, _ model.NetHandles) error {
	d.setting.Lock()
	defer d.setting.Unlock()
	crash.At("user.clear.before")
	err := d.forget(ctx, id)
	crash.At("user.clear.told")
	err = errors.Join(err, atomicfile.Remove(socketIn(d.options.Dirs.VM(id))))
	crash.At("user.clear.after")
	return err
}

// forget has netd take away what it has of a VM. The caller holds setting.
func (d *Driver) forget(ctx context.Context, id model.VMID) error {
	d.mu.Lock()
	delete(d.ports, id)
	delete(d.kinds, id)
	d.mu.Unlock()
	return d.change(ctx, "cannot take the network away", false, func(ctx context.Context, n *netd) error {
		_, err := n.rpc.Clear(ctx, &netdv1.ClearRequest{VmId: string(id)})
		return err
	})
}

// Sweep implements network.Driver.
func (d *Driver) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	d.setting.Lock()
	defer d.setting.Unlock()
	var ids []string
	for id, kept := range keep {
		if kept {
			ids = append(ids, string(id))
		}
	}
	slices.Sort(ids)
	d.mu.Lock()
	for id := range d.ports {
		if !keep[id] {
			delete(d.ports, id)
			delete(d.kinds, id)
		}
	}
	d.mu.Unlock()
	crash.At("user.sweep.before")
	err := d.change(ctx, "cannot sweep the network", false, func(ctx context.Context, n *netd) error {
		_, err := n.rpc.Keep(ctx, &netdv1.KeepRequest{VmIds: ids})
		return err
	})
	crash.At("user.sweep.after")
	return err
}

// Denied implements network.Explainer.
func (d *Driver) Denied(ctx context.Context, id model.VMID) ([]model.Denial, error) {
	return d.denied(ctx, &netdv1.DeniedRequest{VmId: string(id)})
}

// Check implements network.Explainer.
func (d *Driver) Check(ctx context.Context, id model.VMID, destination string, udp bool) (model.Verdict, error) {
	var verdict model.Verdict
	err := d.ask(ctx, "cannot check "+destination, func(ctx context.Context, n *netd) error {
		answer, err := n.rpc.Check(ctx, &netdv1.CheckRequest{VmId: string(id), Destination: destination, Udp: udp})
		verdict = model.Verdict{Allowed: answer.GetAllowed(), Rule: answer.GetRule(), Addresses: answer.GetAddresses()}
		return err
	})
	return verdict, err
}

// change is a call that changes netd. One that hangs is replaced. start says that one is started where none runs; without
// it there is then nothing to change.
func (d *Driver) change(ctx context.Context, doing string, start bool, call func(context.Context, *netd) error) error {
	return d.call(ctx, doing, start, answerTime, call)
}

// ask is a call that asks netd.
func (d *Driver) ask(ctx context.Context, doing string, call func(context.Context, *netd) error) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	return d.call(ctx, doing, true, questionTime, call)
}

// call calls netd, and another one when that which answered before turns out to be dead, or does not answer within limit.
func (d *Driver) call(ctx context.Context, doing string, start bool, limit time.Duration, call func(context.Context, *netd) error) error {
	for attempt := 1; ; attempt++ {
		n, err := d.connection(ctx, start)
		if err != nil {
			return model.HostErrorf(err, "%s", doing)
		}
		if n == nil {
			return nil
		}
		err = within(ctx, limit, func(ctx context.Context) error { return call(ctx, n) })
		hangs := errors.Is(err, errHangs)
		if err == nil || !hangs && !n.dead(err) || ctx.Err() != nil || attempt == 3 {
			return fromRPC(doing, err)
		}
		if hangs {
			d.options.Log.Error("banger-netd does not answer; ending it", "pid", n.pid)
			if err := endNetd(ctx, n.pid, unix.SIGKILL); err != nil {
				return model.HostErrorf(err, "%s", doing)
			}
		}
		d.lost(n)
	}
}

var errHangs = model.Errorf(model.ErrTimeout, "banger-netd does not answer")

// within calls do with a context of its own; what is not done within limit is an errHangs, unless ctx ended.
func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return errHangs
	}
	return err
}

// remembered are the ports as they were told last, in a fixed order.
func (d *Driver) remembered() []*netdv1.Port {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*netdv1.Port
	for _, p := range d.ports {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *netdv1.Port) int { return strings.Compare(a.GetVmId(), b.GetVmId()) })
	return all
}

// socketIn is where the VMM listens, in the VM's directory.
func socketIn(dir string) string { return filepath.Join(dir, "net") }

var errClosed = errors.New("the daemon is stopping")
