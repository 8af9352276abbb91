package firecracker

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"banger/internal/fcversion"
	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/userns"
	"banger/internal/vmm"
	"banger/internal/vmm/process"
)

const program = "firecracker"

// Features tells what Firecracker can do here.
func (d *Driver) Features(ctx context.Context) vmm.Features {
	f, _ := d.features(ctx)
	return f
}

// features also returns the program to run.
func (d *Driver) features(ctx context.Context) (f vmm.Features, binary string) {
	f = vmm.Features{
		Accel:   "kvm",
		Links:   []network.LinkKind{network.LinkNone, network.LinkTap},
		Formats: []string{"raw"},
		Console: d.options.Console,
	}
	binary, text, err := process.Program{
		Name: program, Path: d.options.Binary, Cache: d.options.Cache, ReadOnly: d.options.ReadOnly, Log: d.options.Log,
		Absent: model.Errorf(model.ErrUnsupported, "Firecracker is not installed; %s", fcversion.Wanted),
	}.Version(ctx)
	if err == nil {
		f.Version, err = fcversion.Of(binary, fcversion.Firecracker, text)
	}
	if err != nil {
		f.Problem = err.Error()
		return f, ""
	}
	verdict := d.options.KVM.Verdict()
	f.Problem, f.Slow, f.Fix = verdict.Problem, verdict.Slow, verdict.Fix
	if err := d.ownNetwork(); err == nil {
		f.Links = append(f.Links, network.LinkOwnTap)
	}
	if f.Problem == "" && d.noJail(ctx) == "" {
		f.Links = append(f.Links, network.LinkWire, network.LinkJailTap)
	}
	if f.Problem != "" {
		f.Problem = "Firecracker needs KVM, and " + f.Problem
	}
	return f, binary
}

// ownNetwork says whether this user may make namespaces, which is asked once.
func (d *Driver) ownNetwork() error {
	d.asking.Do(func() {
		if d.namespaces = userns.Try(); d.namespaces != nil {
			d.options.Log.Warn("outside of a jail no VM can be run in Firecracker with the network user: a process cannot be given namespaces of its own", "error", d.namespaces)
		}
	})
	return d.namespaces
}

// check refuses, with a line for the user, what Firecracker cannot attach.
func check(c vmm.Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.VCPUs > maxVCPUs {
		return model.Errorf(model.ErrInvalid, "cannot give a VM %d vCPUs: Firecracker has at most %d", c.VCPUs, maxVCPUs)
	}
	for _, d := range c.Drives {
		if d.Format != "raw" {
			return model.Errorf(model.ErrUnsupported, "cannot attach %q to Firecracker: its format is %q, and it reads raw drives only", d.Path, d.Format)
		}
	}
	switch l := c.Link; {
	case l.Kind == network.LinkNone:
		return nil
	case !slices.Contains([]network.LinkKind{network.LinkTap, network.LinkOwnTap, network.LinkWire, network.LinkJailTap}, l.Kind):
		return model.Errorf(model.ErrUnsupported, "cannot attach a link of kind %d to Firecracker", l.Kind)
	case !tapName.MatchString(l.Tap):
		return model.Errorf(model.ErrInvalid, "cannot attach the interface %q", l.Tap)
	case len(l.MAC) != 6 || slices.Equal(l.MAC, make([]byte, 6)):
		return model.Errorf(model.ErrInvalid, "cannot give a network interface the address %q", fmt.Sprint(l.MAC))
	}
	return nil
}

// tapName is what a network device of Linux may be called, less what is odd about some.
var tapName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$`)
