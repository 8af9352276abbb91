//go:build crash

package hostnet

import (
	"errors"
	"os/exec"
	"slices"
	"testing"

	"banger/internal/crash/crashtest"
	"banger/internal/model"
	"banger/internal/testenv"
)

// TestKilledAtAnyPoint requires that after a kill nothing that has no rules is up, that a VM can be attached, whatever is
// there of it, and that afterwards the host is as it was: also when somebody else sweeps what was left.
func TestKilledAtAnyPoint(t *testing.T) {
	t.Parallel()
	for _, point := range crashtest.Points(t, "hostnet.") {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			before := h.listing(t)
			for _, attach := range []bool{true, false} {
				n, id, other := New(Options{Instance: model.NewInstanceID()}), model.NewVMID(), model.NewVMID()
				h.do(func() {
					cmd := crashtest.Again(point, instanceVariable+"="+string(n.o.Instance), vmVariable+"="+string(id)+" "+string(other))
					if err := cmd.Run(); !testenv.Killed(cmd) {
						t.Errorf("it was not killed there: %v", err)
					}
					found, err := n.List(t.Context())
					if err != nil {
						t.Error(err)
					}
					for _, tap := range slices.Concat(found.Spare, found.Left) {
						if up := exec.Command("sh", "-c", "ip -o link show up dev "+tap+" | grep -q ,UP").Run() == nil; up {
							t.Errorf("%s is of no VM and up", tap)
						}
					}
					for _, p := range found.Ports {
						if up := exec.Command("sh", "-c", "ip -o link show up dev "+p.Tap+" | grep -q ,UP").Run() == nil; p.Tap != "" && !p.Ruled && up {
							t.Errorf("%s is up and has no rules", p.Tap)
						}
					}
				})
				if attach {
					h.do(func() {
						if err := errors.Join(n.Prepare(t.Context()), n.Recycle(t.Context())); err != nil {
							t.Error(err)
						}
					})
					g := h.attachAs(t, n, id, 1, "public,group:a", someDoors...)
					if _, err := g.ask("tcp4", internet, port); err != nil {
						t.Errorf("its network does not work: %v", err)
					}
					g.close()
				}
				h.do(func() {
					forget := func() error { return errors.Join(n.Detach(t.Context(), other), n.Detach(t.Context(), id)) }
					if !attach {
						forget = func() error { return n.Sweep(t.Context(), nil) }
					}
					if err := forget(); err != nil {
						t.Error(err)
					}
				})
				if after := h.listing(t); after != before {
					t.Errorf("before:\n%s\nafter:\n%s", before, after)
				}
			}
		})
	}
}
