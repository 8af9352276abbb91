package vm

import (
	"context"
	"slices"
	"strings"

	"banger/internal/model"
)

// List returns every VM, oldest first. It asks no guest.
func (s *Service) List(ctx context.Context) ([]View, error) {
	vms, err := s.Store.VMs(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]View, len(vms))
	for i, v := range vms {
		views[i] = s.view(v)
	}
	return views, nil
}

// Get returns one VM.
func (s *Service) Get(ctx context.Context, id model.VMID) (View, error) {
	v, err := s.Store.VM(ctx, id)
	if err != nil {
		return View{}, err
	}
	return s.view(v), nil
}

func (s *Service) view(v model.VM) View {
	view := View{VM: v, Dir: s.Dirs.VM(v.ID), Ports: published(v.Spec)}
	s.mu.Lock()
	e := s.entries[v.ID]
	s.mu.Unlock()
	if e == nil {
		return view
	}
	e.mu.Lock()
	view.Handles = e.handles
	there := e.link.Address.IsValid()
	if there {
		view.Ports = slices.Clone(e.ports)
	}
	if e.problem != "" {
		view.LastError = e.problem
	}
	e.mu.Unlock()
	if there {
		view.Ports = s.nameHosts(v, view.Ports)
	}
	return view
}

// minPrefix is the shortest part of an id that stands for it.
const minPrefix = 3

// Resolve finds the VM of each reference, a name, an id or a unique prefix of an id, all in one snapshot.
func (s *Service) Resolve(ctx context.Context, refs []string) ([]Resolution, error) {
	views, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]Resolution, len(refs))
	for i, ref := range refs {
		view, err := resolve(views, ref)
		found[i] = Resolution{Ref: ref, VM: view, Err: err}
	}
	return found, nil
}

func resolve(views []View, ref string) (*View, error) {
	var byPrefix []*View
	for i := range views {
		v := &views[i]
		if v.Name == ref || string(v.ID) == ref {
			return v, nil
		}
		if len(ref) >= minPrefix && strings.HasPrefix(string(v.ID), ref) {
			byPrefix = append(byPrefix, v)
		}
	}
	switch len(byPrefix) {
	case 0:
		return nil, model.Errorf(model.ErrNotFound, "there is no VM %q; see: banger vm list", ref)
	case 1:
		return byPrefix[0], nil
	}
	return nil, model.Errorf(model.ErrInvalid, "%q is the beginning of %d VMs' ids; write more of it", ref, len(byPrefix))
}
