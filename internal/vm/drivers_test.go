package vm

import (
	"context"
	"errors"
	"strings"
	"testing"

	"banger/internal/model"
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
