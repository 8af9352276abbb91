package bridge

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"banger/internal/model"
	"banger/internal/network/bridge/zone"
	"banger/internal/resolvconf"
)

// askLimit is how long the daemon may take to answer the doctor; all that is asked may take twice that.
const askLimit = 2 * time.Second

// checkNames tells whether this host's programs find VMs on the bridge by name, and what would help.
func (d *Driver) checkNames(ctx context.Context) model.Check {
	const name = "names"
	ctx, cancel := context.WithTimeout(ctx, 2*askLimit)
	defer cancel()
	n, err := d.o.Verbs.LookNames(ctx)
	where := "the bridge's address, once there is a VM on it"
	if n.Gateway.IsValid() {
		where = n.Gateway.String()
	}
	byHand := "; have your own resolver ask " + where + " for the domain " + model.VMDomain
	switch {
	case err != nil:
		return model.CheckOf(name, err, "").AtMost(model.CheckWarning)
	case n.Gateway.IsValid() && !zone.Answers(ctx, n.Gateway, askLimit):
		err = model.Errorf(model.ErrState, "no daemon answers for NAME.vm at %s: none runs, or another program has port 53 there; run: banger daemon restart", n.Gateway)
		return model.CheckOf(name, err, "").AtMost(model.CheckWarning)
	case !n.Resolved:
		return model.Check{Name: name, Status: model.CheckOK, Detail: "programs of this host do not find VMs on the bridge by name: systemd-resolved does not run" + byHand}
	case n.Gateway.IsValid() && !n.Told:
		err = model.Errorf(model.ErrState, "systemd-resolved was not told of NAME.vm, or did not take it, as where systemd-networkd has bb*; run: banger daemon restart%s", byHand)
		return model.CheckOf(name, err, "").AtMost(model.CheckWarning)
	case !slices.ContainsFunc(resolvconf.Servers(resolvconf.Path), stub):
		return model.Check{Name: name, Status: model.CheckOK, Detail: "systemd-resolved finds VMs on the bridge as NAME.vm; programs that follow " + resolvconf.Path + ", which does not name it, do not" + byHand}
	}
	return model.Check{Name: name, Status: model.CheckOK, Detail: "programs of this host find VMs on the bridge as NAME.vm, by systemd-resolved"}
}

// stub says whether systemd-resolved listens at an address.
func stub(a netip.Addr) bool {
	return a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54})
}
