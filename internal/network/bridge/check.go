package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"banger/internal/helper/hostnet"
	"banger/internal/model"
)

// Leaks tells of ports whose VM does not run, of VMs that run without theirs, and of a bridge without VMs.
func (d *Driver) Leaks(ctx context.Context, vms []model.VM) ([]model.Leak, error) {
	found, err := d.o.Verbs.List(ctx)
	if errors.Is(err, model.ErrDenied) {
		return nil, nil // who may not look made nothing
	}
	if err != nil {
		return nil, err
	}
	var leaks []model.Leak
	whole, busy := map[model.VMID]bool{}, map[model.VMID]bool{}
	needed := false
	for _, v := range vms {
		busy[v.ID] = v.State.Lives() || !v.State.AtRest()
		needed = needed || busy[v.ID] && v.Network == d.Name()
	}
	for _, p := range found.Ports {
		whole[p.ID] = whole[p.ID] || p.Tap != "" && p.Ruled
		if !busy[p.ID] {
			leaks = append(leaks, model.Leak{
				Kind: "tap", What: cmp.Or(p.Tap, "rules of "+string(p.ID)),
				Why: fmt.Sprintf("is of the VM %q, which does not run; the next daemon takes it away", p.ID),
			})
		}
	}
	for _, v := range vms {
		if v.Network == d.Name() && v.State == model.StateRunning && !whole[v.ID] {
			leaks = append(leaks, model.Leak{Kind: "row", What: string(v.ID), Why: "is of " + v.Name + ", which runs without its tap or its rules; run: banger daemon restart"})
		}
	}
	if !needed {
		leaks = append(leaks, idle(found)...)
	}
	if !needed && found.Bridge != "" {
		leaks = append(leaks, model.Leak{Kind: "bridge", What: found.Bridge, Why: "is there for no VM that runs"})
	}
	if !needed {
		for _, table := range found.Tables {
			leaks = append(leaks, model.Leak{Kind: "table", What: table, Why: "is there for no VM that runs"})
		}
	}
	return leaks, nil
}

// idle tells of taps that no VM has. While there is any VM, they are the pool's: some are ready for the next one, and some
// wait to be removed, which the next change has done at the latest.
func idle(found hostnet.Found) []model.Leak {
	var leaks []model.Leak
	for _, tap := range slices.Concat(found.Spare, found.Left) {
		leaks = append(leaks, model.Leak{Kind: "tap", What: tap, Why: "is of no VM, and there is none that runs"})
	}
	return leaks
}

// CheckHost tells, where the bridge can be used, whether somebody else's rules are in its way.
func (d *Driver) CheckHost(ctx context.Context) []model.Check {
	const name = "bridge"
	if d.o.Verbs.Problem() != "" {
		return nil // nothing is wrong with a host whose user may not
	}
	obstacles, err := d.o.Verbs.Obstacles(ctx)
	switch {
	case err != nil:
		return []model.Check{model.CheckOf(name, err, "").AtMost(model.CheckWarning)}
	case len(obstacles) > 0:
		return append(checksOf(name, obstacles), d.checkNames(ctx))
	}
	return []model.Check{
		{Name: name, Status: model.CheckOK, Detail: `this user can have VMs on it, with network-driver = "bridge" in config.toml`}, d.checkNames(ctx),
	}
}

// checksOf tells of obstacles, once of all that one command has VMs' packets pass.
func checksOf(name string, obstacles []hostnet.Obstacle) []model.Check {
	var fixes []string
	chains := map[string][]string{}
	for _, o := range obstacles {
		if chains[o.Fix] == nil {
			fixes = append(fixes, o.Fix)
		}
		chains[o.Fix] = append(chains[o.Fix], o.Chain)
	}
	var checks []model.Check
	for _, fix := range fixes {
		text := "packets of VMs on the bridge may be refused by " + strings.Join(chains[fix], ", ") + ", unless a rule there lets them pass"
		if fix == "" {
			text += "; let pass there what comes from and goes to interfaces named bb*"
		}
		checks = append(checks, model.CheckOf(name, model.Fixable(model.ErrState, fix, "%s", text), "").AtMost(model.CheckWarning))
	}
	return checks
}
