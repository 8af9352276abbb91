// Package networktest has the conformance suite of network drivers, with a fake one that passes it.
package networktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/atomicfile"
	"banger/internal/model"
	"banger/internal/network"
)

// Fake is a driver whose links are files in one directory, which stands for the host: they outlive the process and can
// leak, as taps do. Its links are of kind LinkNone with an address, so any VMM can be given one. It is for tests.
type Fake struct {
	host string
	fail func(call string, id model.VMID) error
}

var _ network.Driver = (*Fake)(nil)

// device is what the pretended host holds of one link.
type device struct {
	VM        model.VMID
	Slot      int
	Policy    string
	HostPorts []uint16 `json:",omitempty"` // of the host, that the guest may reach
	Ports     []model.PortForward
	Up        bool
}

// NewFake returns a fake over the directory host. fail, when it is not nil, is asked before each call, by the method's
// name, and its error is returned instead of acting.
func NewFake(host string, fail func(call string, id model.VMID) error) *Fake {
	if fail == nil {
		fail = func(string, model.VMID) error { return nil }
	}
	return &Fake{host: host, fail: fail}
}

// Name implements network.Driver.
func (*Fake) Name() string { return "fake" }

// Carries implements network.Driver: it takes every policy.
func (*Fake) Carries(network.Wants) bool { return true }

func (f *Fake) path(id model.VMID) string { return filepath.Join(f.host, "link-"+string(id)) }

func (f *Fake) begin(ctx context.Context, call string, id model.VMID) error {
	if err := ctx.Err(); err != nil {
		return model.HostErrorf(err, "cannot %s the network link", strings.ToLower(call))
	}
	return f.fail(call, id)
}

// Links implements network.Driver.
func (*Fake) Links() []network.LinkKind { return []network.LinkKind{network.LinkNone} }

// Set implements network.Driver.
func (f *Fake) Set(ctx context.Context, id model.VMID, s network.Spec) (network.Link, error) {
	if err := f.begin(ctx, "Set", id); err != nil {
		return network.Link{}, err
	}
	if _, err := model.ParsePolicy(s.Policy); err != nil {
		return network.Link{}, err
	}
	d, err := f.load(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return network.Link{}, err
	}
	ports, err := f.publish(id, d.Ports, s.Ports)
	if err != nil {
		return network.Link{}, err
	}
	d.VM, d.Slot, d.Policy, d.HostPorts, d.Ports = id, s.Slot, s.Policy, s.HostPorts, ports
	if err := f.save(d); err != nil {
		return network.Link{}, err
	}
	return network.Link{
		Kind:    network.LinkNone,
		MAC:     net.HardwareAddr{0x02, 0, 0, 0, byte(s.Slot >> 8), byte(s.Slot)},
		MTU:     1500,
		Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(s.Slot >> 8), byte(s.Slot)}), 16),
		Ports:   ports,
		Handles: model.NetHandles{Tap: filepath.Base(f.path(id))},
	}, nil
}

// publish takes the host's ports: of the pretended host, so that any number is free but those of other links.
func (f *Fake) publish(id model.VMID, had, want []model.PortForward) ([]model.PortForward, error) {
	taken := map[uint16]bool{}
	for _, other := range f.links() {
		d, err := f.load(other)
		if err != nil || other == id {
			continue
		}
		for _, p := range d.Ports {
			taken[p.HostPort] = true
		}
	}
	ports := append([]model.PortForward(nil), want...)
	named := map[uint16]bool{}
	for _, p := range want {
		named[p.HostPort] = true
	}
	for i, p := range ports {
		for _, old := range had {
			if p.HostPort == 0 && old.GuestPort == p.GuestPort && old.UDP == p.UDP {
				ports[i].HostPort = old.HostPort
			}
		}
		if taken[p.HostPort] {
			return nil, model.Errorf(model.ErrExists, "cannot publish port %d of the host: something else has it", p.HostPort)
		}
		for free := uint16(40000); ports[i].HostPort == 0; free++ {
			if !taken[free] && !named[free] {
				ports[i].HostPort = free
			}
		}
		taken[ports[i].HostPort] = true
	}
	return ports, nil
}

// Up implements network.Driver.
func (f *Fake) Up(ctx context.Context, id model.VMID, _ model.Process) error {
	if err := f.begin(ctx, "Up", id); err != nil {
		return err
	}
	d, err := f.load(id)
	if err != nil {
		return model.Errorf(model.ErrNotFound, "cannot bring up the network link: %w", err)
	}
	d.Up = true
	return f.save(d)
}

// Clear implements network.Driver. It finds the link by the VM's id and never follows the hint.
func (f *Fake) Clear(ctx context.Context, id model.VMID, _ model.NetHandles) error {
	if err := f.begin(ctx, "Clear", id); err != nil {
		return err
	}
	return errors.Join(atomicfile.Remove(f.path(id)), atomicfile.Sweep(f.path(id)))
}

// Sweep implements network.Driver.
func (f *Fake) Sweep(ctx context.Context, keep map[model.VMID]bool) error {
	if err := f.begin(ctx, "Sweep", ""); err != nil {
		return err
	}
	var errs []error
	for _, id := range f.links() {
		if !keep[id] {
			errs = append(errs, f.Clear(ctx, id, model.NetHandles{}))
		}
	}
	return errors.Join(errs...)
}

// Has says whether the pretended host has the VM's link.
func (f *Fake) Has(id model.VMID) bool {
	_, err := os.Lstat(f.path(id))
	return err == nil
}

// String prints what the pretended host holds, one link a line.
func (f *Fake) String() string {
	var b strings.Builder
	for _, id := range f.links() {
		d, err := f.load(id)
		fmt.Fprintf(&b, "link %s slot %d policy %s up %v", id, d.Slot, d.Policy, d.Up)
		for _, p := range d.Ports {
			fmt.Fprintf(&b, " port %s", p)
		}
		if err != nil {
			fmt.Fprintf(&b, " (%v)", err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (f *Fake) links() []model.VMID {
	paths, _ := filepath.Glob(filepath.Join(f.host, "link-*"))
	var all []model.VMID
	for _, path := range paths {
		if id := model.VMID(strings.TrimPrefix(filepath.Base(path), "link-")); id.Valid() {
			all = append(all, id)
		}
	}
	return all
}

func (f *Fake) load(id model.VMID) (d device, err error) {
	data, err := os.ReadFile(f.path(id))
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(data, &d)
}

func (f *Fake) save(d device) error {
	data, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.host, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(f.path(d.VM), data, 0o600)
}
