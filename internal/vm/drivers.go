package vm

import (
	"context"
	"slices"
	"strings"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/rootdisk"
	"banger/internal/vmm"
)

// drivers are those of one VM, which keeps them for its life.
type drivers struct {
	vmm      vmm.Driver
	features vmm.Features // of the VMM
	disk     rootdisk.Driver
	network  network.Driver
	passed   []string // why it is none of the VMMs that would be better
}

// Choice is what a new VM gets when nothing is said.
type Choice struct {
	VMM      string
	Features vmm.Features // of it
	RootDisk string
	Network  string
	Passed   []string // why it is none of the VMMs that would be better
}

// Default returns what a new VM gets when nothing is said. The error is an ErrUnsupported that says what is in the way of
// each VMM.
func (s *Service) Default(ctx context.Context) (Choice, error) {
	d, err := s.choose(ctx, CreateRequest{Spec: s.Defaults})
	if err != nil {
		return Choice{}, err
	}
	return Choice{VMM: d.vmm.Name(), Features: d.features, RootDisk: d.disk.Name(), Network: d.network.Name(), Passed: d.passed}, nil
}

// choose returns the drivers for a VM like that: with the VMM that is asked for, or else with the best one here that goes
// with the rest of what is asked for. The error is an ErrUnsupported that says what is in the way of each.
func (s *Service) choose(ctx context.Context, r CreateRequest) (drivers, error) {
	if r.VMM != "" {
		d, err := s.vmm(r.VMM)
		if err != nil {
			return drivers{}, err
		}
		f := d.Features(ctx)
		if err := f.Err("use " + r.VMM); err != nil {
			return drivers{}, err
		}
		return s.around(ctx, d, f, r)
	}
	able, reasons, fix := s.byPreference(ctx)
	for _, c := range able {
		d, err := s.around(ctx, c.vmm, c.features, r)
		if d.passed = reasons; err == nil || len(able) == 1 {
			return d, err
		}
		reasons = append(reasons, err.Error())
	}
	if len(able) > 0 {
		fix = "" // of another VMM than those that are in question
	}
	return drivers{}, model.Fixable(model.ErrUnsupported, fix, "cannot run such a virtual machine here: %s", strings.Join(reasons, "; "))
}

// byPreference returns the VMMs that run on this host, the best first, and why the others do not, with the command that
// mends this for the last of them, if one does. Those that are as fast as they should be come in the order of Options;
// among slow ones the last of that order is the best, since it asks least of the host.
func (s *Service) byPreference(ctx context.Context) (able []drivers, reasons []string, fix string) {
	var slow []drivers
	for _, d := range s.VMMs {
		switch f := d.Features(ctx); {
		case f.Problem != "":
			reasons, fix = append(reasons, f.Problem), f.Fix
		case f.Slow != "":
			slow = slices.Insert(slow, 0, drivers{vmm: d, features: f})
		default:
			able = append(able, drivers{vmm: d, features: f})
		}
	}
	return append(able, slow...), reasons, fix
}

// around finds what goes with a VMM.
func (s *Service) around(ctx context.Context, d vmm.Driver, f vmm.Features, r CreateRequest) (drivers, error) {
	disk, err := s.pickRootDisk(ctx, r.RootDisk, f)
	if err != nil {
		return drivers{}, err
	}
	n, err := s.pickNetwork(r.Network, s.Network, r.Spec, d.Name(), f.Links)
	if err != nil {
		return drivers{}, err
	}
	return drivers{vmm: d, features: f, disk: disk, network: n}, nil
}

// pickNetwork returns the driver for a VM like that on a VMM that takes those links: the named one; or else the preferred
// one, where it carries what needs a network; or else the first that does.
func (s *Service) pickNetwork(name, preferred string, spec model.Spec, vmm string, links []network.LinkKind) (network.Driver, error) {
	if name != "" {
		d, err := s.network(name)
		if err == nil {
			err = misfitNetwork(d, spec, vmm, links)
		}
		return d, err
	}
	isolated := wants(spec) == network.Wants{Policy: model.PolicyNone}
	if preferred != "" && !isolated {
		d, err := s.network(preferred)
		if err != nil || d.Carries(wants(spec)) {
			if err == nil {
				err = misfitNetwork(d, spec, vmm, links)
			}
			return d, err
		}
	}
	carried := false
	for _, d := range s.Networks {
		if !d.Carries(wants(spec)) {
			continue
		}
		carried = true
		if misfitNetwork(d, spec, vmm, links) == nil {
			return d, nil
		}
	}
	if carried {
		return nil, model.Errorf(model.ErrUnsupported, "cannot give a VM that %s runs the network policy %q: no network driver here makes a link that it takes; choose another --vmm, or --network none", vmm, spec.Network)
	}
	return nil, model.Errorf(model.ErrUnsupported, "cannot give a VM the network policy %q: no network driver of this banger carries it", spec.Network)
}

// misfitNetwork says why a driver cannot give such a VM its network on this host; nil when it can.
func misfitNetwork(d network.Driver, spec model.Spec, vmm string, links []network.LinkKind) error {
	if !d.Carries(wants(spec)) {
		return model.Errorf(model.ErrUnsupported, "cannot use the network driver %s: it does not carry the policy %q%s", d.Name(), spec.Network, withPorts(spec))
	}
	if n, ok := d.(network.Needer); ok {
		if problem := n.Problem(); problem != "" {
			return model.Errorf(model.ErrUnsupported, "cannot use the network driver %s: %s", d.Name(), problem)
		}
	}
	if _, ok := common(d, links); !ok {
		return model.Errorf(model.ErrUnsupported, "cannot use the network driver %s: %s takes no link that it makes", d.Name(), vmm)
	}
	return nil
}

func withPorts(spec model.Spec) string {
	switch {
	case len(spec.HostPorts) > 0:
		return " with ports of the host's loopback"
	case len(spec.Ports) > 0:
		return " with ports"
	}
	return ""
}

// common returns the first kind of link that a driver makes and a VMM takes.
func common(d network.Driver, links []network.LinkKind) (network.LinkKind, bool) {
	for _, kind := range d.Links() {
		if slices.Contains(links, kind) {
			return kind, true
		}
	}
	return network.LinkNone, false
}

// pickRootDisk returns the named driver, or the configured one, or else the first that runs here and goes with a VMM of
// those features.
func (s *Service) pickRootDisk(ctx context.Context, name string, f vmm.Features) (rootdisk.Driver, error) {
	if name == "" {
		name = s.RootDisk
	}
	if name != "" {
		d, err := s.rootDisk(name)
		if err == nil {
			err = misfit(ctx, d, f)
		}
		return d, err
	}
	var reasons []string
	for _, d := range s.RootDisks {
		err := misfit(ctx, d, f)
		if err == nil {
			return d, nil
		}
		reasons = append(reasons, err.Error())
	}
	return nil, model.Errorf(model.ErrUnsupported, "cannot make a root disk here: %s", strings.Join(reasons, "; "))
}

// misfit says why a root disk of d cannot be had on this host, or not with a VMM of those features; nil when it can.
func misfit(ctx context.Context, d rootdisk.Driver, f vmm.Features) error {
	switch need := d.Features(ctx); {
	case need.Problem != "":
		return model.Errorf(model.ErrUnsupported, "cannot use the root disk %s: %s", d.Name(), need.Problem)
	case !slices.Contains(f.Formats, need.Format):
		return model.Errorf(model.ErrUnsupported, "cannot use the root disk %s: the VMM does not take its format, %s; it takes %s",
			d.Name(), need.Format, strings.Join(f.Formats, " and "))
	}
	return nil
}

func (s *Service) vmm(name string) (vmm.Driver, error) { return named("VMM", name, s.VMMs) }

func (s *Service) rootDisk(name string) (rootdisk.Driver, error) {
	return named("root disk", name, s.RootDisks)
}

func (s *Service) network(name string) (network.Driver, error) {
	return named("network driver", name, s.Networks)
}

// named returns the driver of that name, or an error that tells which there are.
func named[D interface{ Name() string }](what, name string, drivers []D) (D, error) {
	known := make([]string, len(drivers))
	for i, d := range drivers {
		if known[i] = d.Name(); known[i] == name {
			return d, nil
		}
	}
	var none D
	return none, model.Errorf(model.ErrUnsupported, "cannot use the %s %q: this banger has %s", what, name, strings.Join(known, ", "))
}
