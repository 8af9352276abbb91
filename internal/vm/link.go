package vm

import (
	"context"
	"os"
	"slices"
	"strings"

	"banger/internal/model"
	"banger/internal/network"
	"banger/internal/vmm"
)

// wants are what decides which network drivers will do.
func wants(spec model.Spec) network.Wants {
	return network.Wants{Policy: spec.Network, Ports: len(spec.Ports) > 0, HostPorts: len(spec.HostPorts) > 0}
}

// setLink makes the VM's link what v says, with those ports, and remembers it. The caller holds the lock.
func (s *Service) setLink(ctx context.Context, e *entry, d network.Driver, v model.VM, ports []model.Port) (network.Link, error) {
	link, ports, err := s.tellLink(ctx, e, d, v, ports)
	if err == nil {
		e.setLink(link, ports)
	}
	return link, err
}

// tellLink tells the driver, and returns the link with the ports as they are in force now.
func (s *Service) tellLink(ctx context.Context, e *entry, d network.Driver, v model.VM, ports []model.Port) (network.Link, []model.Port, error) {
	kind, err := s.linkKind(ctx, d, v, e.current())
	if err != nil {
		return network.Link{}, nil, err
	}
	want := network.Spec{
		Kind: kind,
		Slot: v.Slot, Name: v.Name, Policy: v.Spec.Network, Dir: s.Dirs.VM(v.ID), HostPorts: v.Spec.HostPorts,
	}
	var there []model.Port // without anybody's doing
	if direct(d) {
		ports, there = apart(ports)
	}
	for _, p := range ports {
		want.Ports = append(want.Ports, p.PortForward)
	}
	link, err := d.Set(ctx, v.ID, want)
	if err != nil {
		return link, nil, err
	}
	ports = slices.Clone(ports)
	for i := range min(len(ports), len(link.Ports)) {
		ports[i].PortForward = link.Ports[i]
	}
	link.Handles.Ports = portsText(ports)
	return link, append(ports, there...), nil
}

// linkKind is how the VM's VMM attaches to a link of d. One that lives in a jail took a kind for those, whatever the next
// one would take; l is nil when none lives.
func (s *Service) linkKind(ctx context.Context, d network.Driver, v model.VM, l *live) (network.LinkKind, error) {
	driver, err := s.vmm(v.VMM)
	if err != nil {
		return network.LinkNone, err
	}
	links := driver.Features(ctx).Links
	if l != nil && vmm.JailOf(l.machine) != (model.JailHandles{}) {
		links = l.machine.(vmm.Jailed).JailLinks()
	}
	kind, ok := common(d, links)
	if !ok {
		return kind, model.Errorf(model.ErrUnsupported, "cannot attach %s to the network %s: %s takes no link of that kind", v.Name, d.Name(), v.VMM)
	}
	return kind, nil
}

// openTap opens the tap of a link whose VMM is to inherit it; it is nil for every other link.
func openTap(ctx context.Context, d network.Driver, id model.VMID, link network.Link) (*os.File, error) {
	if link.Kind != network.LinkOpenTap {
		return nil, nil
	}
	o, ok := d.(network.Opener)
	if !ok {
		return nil, model.Errorf(model.ErrUnsupported, "cannot open the tap of %s: the network driver %s does not", id, d.Name())
	}
	return o.Open(ctx, id)
}

func (e *entry) setLink(link network.Link, ports []model.Port) {
	e.mu.Lock()
	e.link, e.ports = link, ports
	e.mu.Unlock()
}

// relink tells the network of an adopted VM anew, ports included, so that what lived on is not disturbed and what died
// with the host's side comes back. A VM whose link cannot be made is listed with that problem. The caller holds the lock.
func (s *Service) relink(ctx context.Context, e *entry, v model.VM, p model.Process, hint model.NetHandles) model.NetHandles {
	d, err := s.network(v.Network)
	if err == nil {
		var link network.Link
		if link, err = s.setLink(ctx, e, d, v, recalledPorts(v.Spec, hint.Ports)); err == nil {
			err = d.Up(ctx, v.ID, p)
		}
		if err == nil {
			return link.Handles
		}
	}
	s.Log.Error("cannot set up an adopted VM's network", "vm", string(v.ID), "name", v.Name, "error", err)
	e.setProblem("its network is down: " + err.Error())
	return hint
}

func (e *entry) currentLink() network.Link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.link
}

func (e *entry) currentPorts() []model.Port {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ports)
}

// clearLink forgets the link of a VMM that has ended. The caller holds the lock.
func (e *entry) clearLink() {
	e.listening = nil
	e.mu.Lock()
	e.link, e.ports = network.Link{}, nil
	e.mu.Unlock()
}

// published are the ports that a VM's spec asks for.
func published(spec model.Spec) []model.Port {
	var ports []model.Port
	for _, f := range spec.Ports {
		ports = append(ports, model.Port{PortForward: f})
	}
	return ports
}

const autoMark = "*"

// portsText and recalledPorts write the ports in force into the handles, and read them.
func portsText(ports []model.Port) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = p.String()
		if p.Auto {
			words[i] += autoMark
		}
	}
	return strings.Join(words, " ")
}

// recalledPorts are the spec's ports with the host's ports that they had, and the automatic ones. The text is only a hint.
func recalledPorts(spec model.Spec, text string) []model.Port {
	ports := published(spec)
	asked := func(f model.PortForward) bool {
		return slices.ContainsFunc(ports, func(p model.Port) bool { return p.PortForward == f })
	}
	for word := range strings.FieldsSeq(text) {
		plain, auto := strings.CutSuffix(word, autoMark)
		f, err := model.ParsePort(plain)
		switch {
		case err != nil:
		case auto && spec.PortsAuto && len(ports) < model.MaxPorts:
			ports = append(ports, model.Port{PortForward: f, Auto: true})
		case !auto && !asked(f):
			for i, p := range ports {
				if p.HostPort == 0 && p.HostIP == f.HostIP && p.GuestPort == f.GuestPort && p.UDP == f.UDP {
					ports[i].PortForward = f
					break
				}
			}
		}
	}
	return ports
}
