package bridge

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/egress"
	"banger/internal/helper/hostnet"
	"banger/internal/model"
)

// told is what the driver was told of a VM and what it has.
type told struct {
	rules   hostnet.Rules
	address netip.Addr
	gateway netip.Addr
}

// tellings are those of all VMs. What the kernel decided by its rules is explained by the code that decides for the user
// network.
type tellings struct {
	mu  sync.Mutex
	vms map[model.VMID]told
}

func (t *tellings) set(id model.VMID, what told) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.vms == nil {
		t.vms = map[model.VMID]told{}
	}
	t.vms[id] = what
}

func (t *tellings) keep(keeps func(model.VMID) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.vms {
		if !keeps(id) {
			delete(t.vms, id)
		}
	}
}

// of returns what was told of a VM, and the addresses of those that are in a group with it.
func (t *tellings) of(id model.VMID) (told, []netip.Addr, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, there := t.vms[id]
	if !there {
		return told{}, nil, model.Errorf(model.ErrNotFound, "cannot explain the network of %s: it has none", id)
	}
	var peers []netip.Addr
	for other, o := range t.vms {
		shared := func(group string) bool { return slices.Contains(o.rules.Policy.Groups(), group) }
		if other != id && slices.ContainsFunc(own.rules.Policy.Groups(), shared) {
			peers = append(peers, o.address)
		}
	}
	return own, peers, nil
}

// viewpoint is a VM's.
func (d *Driver) viewpoint(id model.VMID) (egress.Viewpoint, error) {
	own, peers, err := d.told.of(id)
	if err != nil {
		return egress.Viewpoint{}, err
	}
	rules := egress.New(own.rules.Policy, egress.IsOwnAddress)
	return egress.Viewpoint{
		Rules: rules,
		Address: func(dst netip.AddrPort, name string) egress.Verdict {
			switch {
			case slices.Contains(peers, dst.Addr()):
				return egress.Verdict{Allowed: true, Rule: egress.RulePeers}
			case dst.Addr() == own.gateway && dst.Port() == dnsPort && own.rules.Resolver.IsValid():
				return egress.Verdict{Allowed: true, Rule: "DNS"}
			}
			return rules.Decide(dst, nil)
		},
		Local: func(string) (netip.Addr, bool) { return netip.Addr{}, false },
		Resolve: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		},
	}, nil
}

const dnsPort = 53

// Check implements network.Explainer.
func (d *Driver) Check(ctx context.Context, id model.VMID, destination string, _ bool) (model.Verdict, error) {
	v, err := d.viewpoint(id)
	if err != nil {
		return model.Verdict{}, err
	}
	verdict, addrs, err := v.Check(ctx, destination)
	if err != nil {
		return model.Verdict{}, err
	}
	answer := model.Verdict{Allowed: verdict.Allowed, Rule: verdict.Rule}
	for _, a := range addrs {
		answer.Addresses = append(answer.Addresses, a.String())
	}
	return answer, nil
}

// Denied implements network.Explainer. What is told is the rule that says no now; one that would not any more is named so.
func (d *Driver) Denied(ctx context.Context, id model.VMID) ([]model.Denial, error) {
	v, err := d.viewpoint(id)
	if err != nil {
		return nil, err
	}
	found, err := d.o.Verbs.Denials(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []model.Denial
	for _, f := range found {
		denial := model.Denial{Protocol: protocolName(f.Protocol), Destination: f.To.String(), Count: f.Packets, Last: f.Last}
		if f.To.Port() == 0 {
			denial.Destination = f.To.Addr().String()
		}
		verdict := v.Address(f.To, "")
		denial.Rule = verdict.Rule
		if verdict.Allowed {
			denial.Rule = "the policy that was; now it is allowed: " + verdict.Rule
		}
		all = append(all, denial)
	}
	return all, nil
}

func protocolName(number uint8) string {
	names := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp", unix.IPPROTO_ICMP: "icmp"}
	return cmp.Or(names[number], strconv.Itoa(int(number)))
}
