package vm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/rootdisk"
	"banger/internal/vmm"
)

// diskStub has a name and features, and cannot be asked for anything else.
type diskStub struct {
	rootdisk.Driver
	name     string
	features rootdisk.Features
}

func (d diskStub) Name() string                               { return d.name }
func (d diskStub) Features(context.Context) rootdisk.Features { return d.features }

func TestPickRootDisk(t *testing.T) {
	t.Parallel()
	disks := []rootdisk.Driver{
		diskStub{name: "broken", features: rootdisk.Features{Format: "raw", Problem: "this host has no device-mapper"}},
		diskStub{name: "first", features: rootdisk.Features{Format: "qcow2"}},
		diskStub{name: "second", features: rootdisk.Features{Format: "raw", Join: model.JoinOverlay}},
	}
	both, raw, none := []string{"raw", "qcow2"}, []string{"raw"}, []string{"vmdk"}
	for _, c := range []struct {
		name, asked, configured string
		formats                 []string
		want                    string
		says                    []string // of the error, in place of want
	}{
		{name: "the first that works", formats: both, want: "first"},
		{name: "the first whose format the VMM takes", formats: raw, want: "second"},
		{name: "asked for", asked: "second", formats: both, want: "second"},
		{name: "configured", configured: "second", formats: both, want: "second"},
		{name: "asked for, before what is configured", asked: "first", configured: "second", formats: both, want: "first"},
		{name: "asked for and not for this VMM", asked: "first", formats: raw, says: []string{"first", "qcow2", "raw"}},
		{name: "configured and not for this VMM", configured: "first", formats: raw, says: []string{"first", "qcow2"}},
		{name: "asked for and not for this host", asked: "broken", formats: both, says: []string{"broken", "device-mapper"}},
		{name: "unknown", asked: "other", formats: both, says: []string{`"other"`, "has broken, first, second"}},
		{name: "nothing fits", formats: none, says: []string{"device-mapper", "first", "second", "vmdk"}},
	} {
		s := &Service{Options: Options{RootDisks: disks, RootDisk: c.configured}}
		d, err := s.pickRootDisk(t.Context(), c.asked, vmm.Features{Formats: c.formats})
		if len(c.says) == 0 {
			if err != nil || d.Name() != c.want {
				t.Errorf("%s: got %v, %v; want %s", c.name, d, err, c.want)
			}
			continue
		}
		if !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: got %v, want ErrUnsupported", c.name, err)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %s", c.name, err, text)
			}
		}
	}
}

type vmmStub struct {
	vmm.Driver
	name     string
	features vmm.Features
}

func (d vmmStub) Name() string                          { return d.name }
func (d vmmStub) Features(context.Context) vmm.Features { return d.features }

type networkStub struct {
	network.Driver
	name   string
	policy string
	kind   network.LinkKind
}

func (d networkStub) Name() string                 { return d.name }
func (d networkStub) Carries(w network.Wants) bool { return w.Policy == d.policy }
func (d networkStub) Links() []network.LinkKind    { return []network.LinkKind{d.kind} }

// TestChoose checks which VMM a new VM gets, on hosts of different abilities.
func TestChoose(t *testing.T) {
	t.Parallel()
	light := vmm.Features{Formats: []string{"raw"}, Links: []network.LinkKind{network.LinkNone, network.LinkTap}}
	heavy := vmm.Features{Formats: []string{"raw", "qcow2"}, Links: []network.LinkKind{network.LinkNone, network.LinkSocket}}
	with := func(f vmm.Features, problem, slow string) vmm.Features {
		f.Problem, f.Slow = problem, slow
		return f
	}
	for _, c := range []struct {
		name         string
		light, heavy vmm.Features
		asked        CreateRequest
		want         string // the VMM, its root disk and its network
		says         []string
	}{
		{name: "both fit", light: light, heavy: heavy, want: "light raw-disk nothing"},
		{name: "the first is absent", light: with(light, "it is absent", ""), heavy: heavy, want: "heavy qcow2-disk nothing"},
		{name: "the first is slow", light: with(light, "", "slow"), heavy: heavy, want: "heavy qcow2-disk nothing"},
		{name: "both are slow", light: with(light, "", "slow"), heavy: with(heavy, "", "slow"), want: "heavy qcow2-disk nothing"},
		{name: "only the first runs, slowly", light: with(light, "", "slow"), heavy: with(heavy, "gone", ""), want: "light raw-disk nothing"},
		{name: "the first takes no such link", light: light, heavy: heavy, asked: CreateRequest{Spec: model.Spec{Network: "sockets"}}, want: "heavy qcow2-disk sockets"},
		{name: "a root disk that the first does not take", light: light, heavy: heavy, asked: CreateRequest{RootDisk: "qcow2-disk"}, want: "heavy qcow2-disk nothing"},
		{name: "asked for", light: with(light, "", "slow"), heavy: heavy, asked: CreateRequest{VMM: "light"}, want: "light raw-disk nothing"},
		{name: "asked for and absent", light: with(light, "it is absent", ""), heavy: heavy, asked: CreateRequest{VMM: "light"}, says: []string{"light", "it is absent"}},
		{name: "asked for and not for this network", light: light, heavy: heavy, asked: CreateRequest{VMM: "light", Spec: model.Spec{Network: "sockets"}}, says: []string{"light", "sockets", "--vmm"}},
		{name: "unknown", light: light, heavy: heavy, asked: CreateRequest{VMM: "other"}, says: []string{`"other"`, "light, heavy"}},
		{name: "nothing runs", light: with(light, "it is absent", ""), heavy: with(heavy, "so is this", ""), says: []string{"it is absent", "so is this"}},
		{name: "nobody carries it", light: light, heavy: heavy, asked: CreateRequest{Spec: model.Spec{Network: "pigeons"}}, says: []string{"pigeons"}},
	} {
		s := &Service{Options: Options{
			VMMs: []vmm.Driver{vmmStub{name: "light", features: c.light}, vmmStub{name: "heavy", features: c.heavy}},
			RootDisks: []rootdisk.Driver{
				diskStub{name: "qcow2-disk", features: rootdisk.Features{Format: "qcow2"}},
				diskStub{name: "raw-disk", features: rootdisk.Features{Format: "raw", Join: model.JoinOverlay}},
			},
			Networks: []network.Driver{
				networkStub{name: "nothing", policy: "none", kind: network.LinkNone},
				networkStub{name: "sockets", policy: "sockets", kind: network.LinkSocket},
			},
		}}
		if c.asked.Spec.Network == "" {
			c.asked.Spec.Network = "none"
		}
		d, err := s.choose(t.Context(), c.asked)
		if c.want != "" {
			if err != nil || strings.Join([]string{d.vmm.Name(), d.disk.Name(), d.network.Name()}, " ") != c.want {
				t.Errorf("%s: got %+v, %v; want %s", c.name, d, err, c.want)
			}
			continue
		}
		if !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: got %+v, %v; want ErrUnsupported", c.name, d, err)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %s", c.name, err, text)
			}
		}
	}
}

func TestWhatKeepsEveryVMMIsSaidWithItsRemedy(t *testing.T) {
	t.Parallel()
	links := []network.LinkKind{network.LinkNone}
	s := &Service{Options: Options{
		RootDisks: []rootdisk.Driver{diskStub{name: "disk", features: rootdisk.Features{Format: "raw"}}},
		Networks:  []network.Driver{networkStub{name: "nothing", kind: network.LinkNone}},
	}}
	absent := vmmStub{name: "better", features: vmm.Features{Problem: "Better is absent", Fix: "get it"}}
	gone := vmmStub{name: "other", features: vmm.Features{Problem: "Other is absent", Fix: "get other"}}
	works := vmmStub{name: "works", features: vmm.Features{Formats: []string{"raw"}, Links: links}}
	misfit := vmmStub{name: "misfit", features: vmm.Features{Formats: []string{"vmdk"}, Links: links}}

	s.VMMs = []vmm.Driver{absent, works}
	c, err := s.Default(t.Context())
	if err != nil || c.VMM != "works" || c.RootDisk != "disk" || c.Network != "nothing" || strings.Join(c.Passed, ";") != "Better is absent" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, test := range []struct {
		vmms []vmm.Driver
		fix  string
	}{
		{[]vmm.Driver{absent, gone}, "get other"},
		{[]vmm.Driver{absent, misfit, misfit}, ""}, // getting the absent one would help, and be no remedy for what is there
	} {
		s.VMMs = test.vmms
		_, err := s.Default(t.Context())
		if !errors.Is(err, model.ErrUnsupported) {
			t.Fatal(err)
		}
		if what, fix := model.Remedy(err); fix != test.fix || !strings.Contains(what, "Better is absent") {
			t.Errorf("%q, mended by %q; want %q", what, fix, test.fix)
		}
	}
}

// neederStub cannot be used on this host, for a reason.
type neederStub struct {
	networkStub
	problem string
}

func (d neederStub) Problem() string { return d.problem }

func TestPickNetwork(t *testing.T) {
	t.Parallel()
	tap, socket := network.LinkOpenTap, network.LinkSocket
	all := func(problem string) []network.Driver {
		return []network.Driver{
			networkStub{name: "nothing", policy: "none", kind: network.LinkNone},
			networkStub{name: "socket", policy: "public", kind: socket},
			networkStub{name: "names", policy: "example.org", kind: socket},
			neederStub{networkStub{name: "tap", policy: "public", kind: tap}, problem},
		}
	}
	for _, c := range []struct {
		name, asked, preferred, policy, problem string
		links                                   []network.LinkKind
		want                                    string
		says                                    string // of the error, in place of want
	}{
		{name: "the first that fits", policy: "public", links: []network.LinkKind{tap, socket}, want: "socket"},
		{name: "the first whose link the VMM takes", policy: "public", links: []network.LinkKind{tap}, want: "tap"},
		{name: "none that this host has", policy: "public", problem: "only root can", links: []network.LinkKind{tap}, says: "no network driver here"},
		{name: "preferred", preferred: "tap", policy: "public", links: []network.LinkKind{tap, socket}, want: "tap"},
		{name: "preferred, for what it does not carry", preferred: "tap", policy: "example.org", links: []network.LinkKind{tap, socket}, want: "names"},
		{name: "preferred, for what needs no network", preferred: "tap", policy: "none", links: []network.LinkKind{network.LinkNone, tap}, want: "nothing"},
		{name: "preferred and not to be had", preferred: "tap", policy: "public", problem: "only root can", links: []network.LinkKind{tap, socket}, says: "only root can"},
		{name: "preferred and unknown", preferred: "br0", policy: "public", links: []network.LinkKind{tap}, says: "has nothing, socket, names, tap"},
		{name: "asked for", asked: "tap", preferred: "socket", policy: "public", links: []network.LinkKind{tap, socket}, want: "tap"},
		{name: "asked for what it does not carry", asked: "tap", policy: "example.org", links: []network.LinkKind{tap}, says: `does not carry the policy "example.org"`},
		{name: "asked for and not for this VMM", asked: "tap", policy: "public", links: []network.LinkKind{socket}, says: "no link that it makes"},
		{name: "asked for and not to be had", asked: "tap", policy: "public", problem: "only root can", links: []network.LinkKind{tap}, says: "only root can"},
	} {
		s := &Service{Options: Options{Networks: all(c.problem)}}
		d, err := s.pickNetwork(c.asked, c.preferred, model.Spec{Network: c.policy}, "light", c.links)
		switch {
		case c.says == "" && (err != nil || d.Name() != c.want):
			t.Errorf("%s: got %v, %v; want %s", c.name, d, err, c.want)
		case c.says != "" && (!errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: got %v, want an ErrUnsupported that says %q", c.name, err, c.says)
		}
	}
}
