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

// DefaultVMM returns the driver that a new VM gets when it names none, with what it can do here: the first that runs on
// this host, or an ErrUnsupported that says what each of them lacks.
func (s *Service) DefaultVMM(ctx context.Context) (vmm.Driver, vmm.Features, error) {
	var problem string
	for _, d := range s.VMMs {
		f := d.Features(ctx)
		if f.Problem == "" {
			return d, f, nil
		}
		if problem == "" {
			problem = f.Problem
		}
	}
	return nil, vmm.Features{}, model.Errorf(model.ErrUnsupported, "cannot run virtual machines here: %s", problem)
}

// pickVMM returns the named driver, or the default one, with what it can do here.
func (s *Service) pickVMM(ctx context.Context, name string) (vmm.Driver, vmm.Features, error) {
	if name == "" {
		return s.DefaultVMM(ctx)
	}
	d, err := s.vmm(name)
	if err != nil {
		return nil, vmm.Features{}, err
	}
	f := d.Features(ctx)
	if f.Problem != "" {
		return nil, f, model.Errorf(model.ErrUnsupported, "cannot use %s: %s", name, f.Problem)
	}
	return d, f, nil
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
