package hostnet

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/nftables"

	"banger/internal/model"
)

// Obstacles tells of the chains of others that drop what they have no rule for, where packets of VMs pass: an accept of
// ours is no accept of theirs. Whether they have a rule for ours is not looked at.
func (h *Host) Obstacles(ctx context.Context) ([]string, error) {
	fail := func(err error) ([]string, error) {
		return nil, model.HostErrorf(err, "cannot look at the rules of others")
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	rules, err := nftables.New()
	if err != nil {
		return fail(err)
	}
	chains, err := rules.ListChains()
	if err != nil {
		return fail(err)
	}
	families := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet", nftables.TableFamilyBridge: "bridge"}
	var found []string
	for _, c := range chains {
		family, passes := families[c.Table.Family]
		if !passes || c.Hooknum == nil || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if *c.Hooknum == *nftables.ChainHookForward || *c.Hooknum == *nftables.ChainHookInput {
			found = append(found, fmt.Sprintf("the chain %s of the nftables table %s %s", c.Name, family, c.Table.Name))
		}
	}
	slices.Sort(found)
	return found, nil
}
