package vm

import (
	"errors"
	"testing"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// machineStub tells of its jail, and nothing else.
type machineStub struct {
	vmm.Machine
	jail model.JailHandles
}

func (m machineStub) Jail() model.JailHandles     { return m.jail }
func (machineStub) JailLinks() []network.LinkKind { return []network.LinkKind{network.LinkJailTap} }

// TestTheKindOfALivingVMsLink is that which its VMM took, also when the next one would take another, or none.
func TestTheKindOfALivingVMsLink(t *testing.T) {
	t.Parallel()
	d := kinds{all: []network.LinkKind{network.LinkSocket, network.LinkJailTap, network.LinkOwnTap}}
	jailed := &live{machine: machineStub{jail: model.JailHandles{Dir: "/run/jail"}}}
	for name, c := range map[string]struct {
		takes []network.LinkKind
		lives *live
		want  network.LinkKind // LinkNone for an error
	}{
		"the next one's, in a jail":                  {[]network.LinkKind{network.LinkJailTap, network.LinkOwnTap}, nil, network.LinkJailTap},
		"the next one's, in none":                    {[]network.LinkKind{network.LinkOwnTap}, nil, network.LinkOwnTap},
		"the next one's, where none can be had":      {[]network.LinkKind{network.LinkTap}, nil, network.LinkNone},
		"one's that is in a jail":                    {[]network.LinkKind{network.LinkOwnTap}, jailed, network.LinkJailTap},
		"one's that is in a jail, where none can be": {[]network.LinkKind{network.LinkTap}, jailed, network.LinkJailTap},
		"one's that is in none":                      {[]network.LinkKind{network.LinkOwnTap}, &live{machine: machineStub{}}, network.LinkOwnTap},
	} {
		s := &Service{Options: Options{VMMs: []vmm.Driver{vmmStub{name: "some", features: vmm.Features{Links: c.takes}}}}}
		got, err := s.linkKind(t.Context(), d, model.VM{VMM: "some"}, c.lives)
		if got != c.want || (c.want == network.LinkNone) != errors.Is(err, model.ErrUnsupported) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

// kinds is a network driver that makes links of some.
type kinds struct {
	network.Driver
	all []network.LinkKind
}

func (k kinds) Name() string              { return "some network" }
func (k kinds) Links() []network.LinkKind { return k.all }
