package hostnet

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"banger/internal/model"
)

// Obstacle is a chain of others that may keep VMs' packets from passing.
type Obstacle struct {
	Chain string // "the chain NAME of the nftables table FAMILY NAME"
	Fix   string // the command that has them pass there, or "" when the bridge has no name yet
}

// Obstacles tells of the chains of others that refuse what they have no rule for, where packets of VMs pass: an accept of
// ours is no accept of theirs. Whether they have a rule for ours is not looked at.
func (h *Host) Obstacles(ctx context.Context) ([]Obstacle, error) {
	fail := func(err error) ([]Obstacle, error) {
		return nil, model.HostErrorf(err, "cannot look at the rules of others")
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	rules, err := nftables.New()
	if err != nil {
		return fail(err)
	}
	chains, err := chainsOf(rules, nftables.TableFamilyUnspecified)
	if err != nil {
		return fail(err)
	}
	o := foreign{Conn: rules, ends: map[place]end{}}
	var found []Obstacle
	for _, c := range chains {
		family, known := families[c.Table.Family]
		if !known || c.Hooknum == nil {
			continue
		}
		if *c.Hooknum != *nftables.ChainHookForward && *c.Hooknum != *nftables.ChainHookInput {
			continue
		}
		refuses, err := o.refuses(c)
		if err != nil {
			return fail(err)
		}
		if refuses {
			found = append(found, Obstacle{
				Chain: fmt.Sprintf("the chain %s of the nftables table %s %s", c.Name, family, c.Table.Name),
				Fix:   h.fix(chains, c),
			})
		}
	}
	slices.SortFunc(found, func(a, b Obstacle) int { return cmp.Compare(a.Chain, b.Chain) })
	return found, nil
}

// families are those that packets of VMs pass, with the names that nft(8) has for them.
var families = map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyINet: "inet", nftables.TableFamilyBridge: "bridge"}

// foreign are the chains of a host, whose rules are read when they are asked for.
type foreign struct {
	*nftables.Conn
	ends map[place]end // those that are known
}

// place is where a chain is.
type place struct {
	family       nftables.TableFamily
	table, chain string
}

// end is what becomes of a packet in a chain when no rule's condition is true of it.
type end int

const (
	passes   end = iota // to what is after the chain
	accepted            // by a rule
	refused             // by a rule: dropped, or rejected
)

// refuses says whether a base chain refuses what it has no rule for.
func (o *foreign) refuses(c *nftables.Chain) (bool, error) {
	e, err := o.end(c.Table, c.Name)
	policy := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	return e == refused || e == passes && policy, err
}

func (o *foreign) end(t *nftables.Table, chain string) (end, error) {
	at := place{t.Family, t.Name, chain}
	if e, known := o.ends[at]; known {
		return e, nil
	}
	rules, err := o.GetRules(t, &nftables.Chain{Table: t, Name: chain})
	if err != nil {
		return passes, err
	}
	e := passes
	for _, r := range rules {
		var over bool
		if e, over, err = o.follow(t, r.Exprs); err != nil {
			return passes, err
		}
		if over {
			break
		}
	}
	o.ends[at] = e
	return e, nil
}

// follow says where a rule leads, and whether the rules after it are not reached.
func (o *foreign) follow(t *nftables.Table, exprs []expr.Any) (e end, over bool, err error) {
	switch v := unconditional(exprs).(type) {
	case *expr.Reject, *expr.Target:
		return refused, true, nil
	case *expr.Verdict:
		switch v.Kind {
		case expr.VerdictDrop:
			return refused, true, nil
		case expr.VerdictAccept:
			return accepted, true, nil
		case expr.VerdictReturn:
			return passes, true, nil
		case expr.VerdictGoto:
			e, err = o.end(t, v.Chain)
			return e, true, err
		case expr.VerdictJump:
			e, err = o.end(t, v.Chain)
			return e, e != passes, err
		}
	}
	return passes, false, nil
}

// unconditional returns what a rule does to every packet: its verdict, a reject, or the REJECT of iptables. It returns nil
// if there is a condition before that, or nothing of the kind. What the library does not know it leaves out; a condition
// is still seen by the comparison that it ends in.
func unconditional(exprs []expr.Any) expr.Any {
	const counters = 1 // NFT_OBJECT_COUNTER
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Verdict, *expr.Reject:
			return e
		case *expr.Target:
			if e.Name == "REJECT" {
				return e
			}
		case *expr.Match:
			if e.Name != "comment" {
				return nil
			}
		case *expr.Objref:
			if e.Type != counters {
				return nil
			}
		case *expr.Counter, *expr.Log:
		default:
			return nil
		}
	}
	return nil
}

// fix is the command by which what comes from the bridge and goes to it passes a chain: by the program whose chain it is,
// where the host's chains tell.
func (h *Host) fix(all []*nftables.Chain, c *nftables.Chain) string {
	if !h.o.Instance.Valid() {
		return ""
	}
	beside := func(chain string) bool {
		return slices.ContainsFunc(all, func(other *nftables.Chain) bool {
			return other.Name == chain && other.Table.Name == c.Table.Name && other.Table.Family == c.Table.Family
		})
	}
	bridge, forward := h.bridge(), *c.Hooknum == *nftables.ChainHookForward
	iptables := c.Table.Family == nftables.TableFamilyIPv4 && c.Table.Name == "filter" && (c.Name == "FORWARD" || c.Name == "INPUT")
	switch {
	case c.Table.Name == "firewalld":
		const add = "sudo firewall-cmd --zone=trusted --add-interface="
		return add + bridge + " && " + add + bridge + " --permanent"
	case iptables && forward && beside("DOCKER-USER"): // which comes before ufw's, where both are
		return both(forward, "sudo iptables -I DOCKER-USER -", "i", "o", " "+bridge+" -j ACCEPT")
	case iptables && forward && beside("ufw-before-forward"):
		return "sudo ufw route allow in on " + bridge
	case iptables && !forward && beside("ufw-before-input"):
		return "sudo ufw allow in on " + bridge
	case iptables:
		return both(forward, "sudo iptables -I "+c.Name+" -", "i", "o", " "+bridge+" -j ACCEPT")
	}
	rule := "sudo nft insert rule " + families[c.Table.Family] + " " + model.ShellWord(c.Table.Name) + " " + model.ShellWord(c.Name) + " "
	if c.Table.Family == nftables.TableFamilyBridge {
		return both(forward, rule, "meta ibrname", "meta obrname", " "+bridge+" accept")
	}
	return both(forward, rule, "iifname", "oifname", " "+bridge+" accept")
}

// both is a command for what comes from the bridge, and, where packets are forwarded, one for what goes to it.
func both(forward bool, before, from, to, after string) string {
	if !forward {
		return before + from + after
	}
	return before + from + after + " && " + before + to + after
}
