package firecracker

import (
	"cmp"
	"context"
	"fmt"

	"banger/internal/model"
)

// Leaks tells of jails whose VM does not run.
func (d *Driver) Leaks(ctx context.Context, vms []model.VM) ([]model.Leak, error) {
	if d.options.Jail == nil {
		return nil, nil
	}
	all, err := d.options.Jail.List(ctx)
	if err != nil {
		return nil, err
	}
	busy := map[model.VMID]bool{}
	for _, v := range vms {
		busy[v.ID] = v.State.Lives() || !v.State.AtRest()
	}
	var leaks []model.Leak
	for _, j := range all {
		if !busy[j.ID] {
			leaks = append(leaks, model.Leak{
				Kind: "jail", What: cmp.Or(j.Dir, j.Cgroup), Why: fmt.Sprintf("is of the VM %q, which does not run; the next daemon takes it away", j.ID),
			})
		}
	}
	return leaks, nil
}
