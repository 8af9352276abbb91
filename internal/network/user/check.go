package user

import (
	"context"
	"encoding/json"
	"os/exec"

	"banger/internal/companion"
	"banger/internal/model"
)

// maxChecks caps what netd says of the host.
const maxChecks = 64 << 10

// CheckHost says whether this host has what the network needs: banger-netd, and what that finds of what it needs itself.
func (d *Driver) CheckHost(ctx context.Context) []model.Check {
	program, err := d.program()
	if err != nil {
		return []model.Check{model.CheckOf("network", err, "")}
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	var checks []model.Check
	out, err := companion.Output(exec.CommandContext(ctx, program, "check"), maxChecks)
	if err == nil {
		err = json.Unmarshal(out, &checks)
	}
	if err != nil {
		err = model.Errorf(model.ErrUnsupported, "cannot ask %s what it lacks here: %w; install banger again", program, err)
	}
	return append([]model.Check{model.CheckOf("network", err, program+" carries it, without root")}, checks...)
}
