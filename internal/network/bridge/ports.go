package bridge

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"banger/internal/crash"
	"banger/internal/helper/hostnet"
	"banger/internal/model"
	"banger/internal/network"
)

// Publisher is a process of the user's that does for VMs what the kernel does not, beyond the daemon's life. What fails
// there has changed nothing.
type Publisher interface {
	// Publish has it do this for a VM, and no more, and returns where it does.
	Publish(ctx context.Context, id model.VMID, p network.Direct) (network.Published, error)
	// Withdraw has it do nothing for the VM; that it does nothing is success.
	Withdraw(ctx context.Context, id model.VMID) error
	// Watch has moved called, which does not wait, when redirects of a VM lead nowhere any more: it is to be published again.
	Watch(moved func(id model.VMID))
	// Check asks the VM's policy about one destination, host:port.
	Check(ctx context.Context, id model.VMID, destination string, udp bool) (model.Verdict, error)
	// Explain lists what was refused to the VM, newest first, with the rule that says no: what the kernel refused, as given,
	// and what the process itself did.
	Explain(ctx context.Context, id model.VMID, refused []model.Denial) ([]model.Denial, error)
}

// bridges is how often a bridge may turn out to be elsewhere than it was.
const bridges = 3

// attach makes the VM's port, and has done for it what the kernel does not. The process comes first, which says where it
// listens; for this it is told the VM's address, which follows from the gateway's. Where there is no bridge yet, the first
// port that is made tells that, and is made again. When it fails, all is as it was. The caller holds setting.
func (d *Driver) attach(ctx context.Context, id model.VMID, s network.Spec, policy model.Policy) (told, []model.PortForward, error) {
	gateway, err := d.gateway(ctx)
	if err != nil {
		return told{}, nil, err
	}
	fresh := !gateway.IsValid() // of whatever fails, nothing was there before
	fail := func(err error) (told, []model.PortForward, error) {
		return told{}, nil, errors.Join(err, d.undo(ctx, id, s.Slot, fresh))
	}
	want := hostnet.Rules{Policy: policy, Wire: s.Kind == network.LinkWire}
	for range bridges {
		var p network.Published
		if gateway.IsValid() {
			if p, err = d.o.Publisher.Publish(ctx, id, direct(s, hostnet.AddressBeside(gateway, s.Slot), gateway)); err != nil {
				return fail(err)
			}
			want.Redirects = p.Redirects
			crash.At("bridge.set.published")
		}
		port, err := d.o.Verbs.Attach(ctx, id, s.Slot, want)
		if err != nil {
			return fail(err)
		}
		crash.At("bridge.set.attached")
		if port.Gateway == gateway {
			d.remind(ctx, id, s, policy, port)
			return told{spec: s, rules: want, port: port, direct: direct(s, port.Address, gateway)}, p.Ports, nil
		}
		gateway = port.Gateway
	}
	return fail(model.Errorf(model.ErrUnavailable, "cannot attach %s to the bridge: its address changes all the time", id))
}

// remind has the process tell the kernel, once it has a changed policy, what of its names the guest knows already. What fails
// is made good by the guest's next question.
func (d *Driver) remind(ctx context.Context, id model.VMID, s network.Spec, policy model.Policy, port hostnet.Port) {
	before, known := d.told.get(id)
	if !known || len(policy.Names()) == 0 || before.rules.Policy.String() == policy.String() {
		return
	}
	_, err := d.o.Publisher.Publish(ctx, id, direct(s, port.Address, port.Gateway))
	crash.At("bridge.set.reminded")
	if err != nil {
		d.o.Log.Warn("what names of a changed policy stand for is not known yet", "vm", string(id), "error", err)
	}
}

// gateway is the bridge's address; the zero Addr where there is none.
func (d *Driver) gateway(ctx context.Context) (netip.Addr, error) {
	if gateway := d.told.gateway(); gateway.IsValid() {
		return gateway, nil
	}
	found, err := d.o.Verbs.List(ctx)
	return found.Gateway, err
}

func direct(s network.Spec, address, gateway netip.Addr) network.Direct {
	return network.Direct{Name: s.Name, Address: address, Gateway: gateway, Policy: s.Policy, Ports: s.Ports, HostPorts: s.HostPorts}
}

// undo has all be for a VM as it was before an attach that failed. fresh says that there was nothing.
func (d *Driver) undo(ctx context.Context, id model.VMID, slot int, fresh bool) error {
	ctx = context.WithoutCancel(ctx)
	crash.At("bridge.undo.before")
	if before, known := d.told.get(id); known {
		p, err := d.o.Publisher.Publish(ctx, id, before.direct)
		if err == nil {
			before.rules.Redirects = p.Redirects
		}
		crash.At("bridge.undo.published")
		_, aerr := d.o.Verbs.Attach(ctx, id, slot, before.rules)
		crash.At("bridge.undo.attached")
		return errors.Join(err, aerr)
	}
	if fresh {
		err := d.o.Publisher.Withdraw(ctx, id)
		crash.At("bridge.undo.withdrawn")
		err = errors.Join(err, d.o.Verbs.Detach(ctx, id))
		crash.At("bridge.undo.detached")
		return err
	}
	found, err := d.o.Verbs.List(ctx)
	if err != nil || slices.ContainsFunc(found.Ports, func(p hostnet.Port) bool { return p.ID == id }) {
		return err // it was made by a daemon that is no more, whose successor is told of it again
	}
	err = d.o.Publisher.Withdraw(ctx, id)
	crash.At("bridge.undo.after")
	return err
}

// renewLimit is how long it may take until a VM's redirects lead somewhere again.
const renewLimit = time.Minute

// renew has redirects of a VM lead to where they should, in the background.
func (d *Driver) renew(id model.VMID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return
	}
	d.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(d.ctx, renewLimit)
		defer cancel()
		d.setting.Lock()
		defer d.setting.Unlock()
		t, known := d.told.get(id)
		if !known || ctx.Err() != nil {
			return
		}
		crash.At("bridge.renew.before")
		again, _, err := d.attach(ctx, id, t.spec, t.rules.Policy)
		crash.At("bridge.renew.after")
		if err != nil {
			d.o.Log.Error("a VM's questions for names lead nowhere", "vm", string(id), "error", err)
			return
		}
		d.told.set(id, again)
	})
}
