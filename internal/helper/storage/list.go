package storage

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"banger/internal/model"
)

// List returns what of this installation's is there, by VM.
func (h *Host) List(ctx context.Context) ([]Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, model.HostErrorf(err, "cannot list snapshots")
	}
	dm, err := openControl()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, model.HostErrorf(err, "cannot list snapshots")
	}
	if err == nil {
		defer dm.close()
	}
	all, err := h.list(dm)
	if err != nil {
		return nil, model.HostErrorf(err, "cannot list snapshots")
	}
	found := make([]Snapshot, 0, len(all))
	for _, s := range all {
		found = append(found, s)
	}
	slices.SortFunc(found, func(a, b Snapshot) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return found, nil
}

// list is List by the VM's id; without a device-mapper, dm is nil.
func (h *Host) list(dm *control) (map[model.VMID]Snapshot, error) {
	all := map[model.VMID]Snapshot{}
	edit := func(id model.VMID, change func(*Snapshot)) {
		s := all[id]
		s.ID = id
		change(&s)
		all[id] = s
	}
	devices, err := h.mapped(dm)
	if err != nil {
		return nil, err
	}
	for id, d := range devices {
		edit(id, func(s *Snapshot) { s.Name, s.Dev, s.Lost = d.name, number(d.dev), lost(d) })
	}
	loops, err := h.loops(isSnapshot)
	if err != nil {
		return nil, err
	}
	for _, l := range loops {
		edit(l.id, func(s *Snapshot) {
			if l.part == partBase {
				s.BaseLoop = l.path
			} else {
				s.COWLoop = l.path
			}
		})
	}
	nodes, err := h.nodes()
	if err != nil {
		return nil, err
	}
	for _, id := range nodes {
		edit(id, func(s *Snapshot) { s.Node = h.node(id) })
	}
	return all, nil
}

// mapped are the installation's mapped devices with their states, by the VM's id; without a device-mapper there are none.
func (h *Host) mapped(dm *control) (map[model.VMID]mapped, error) {
	if dm == nil {
		return nil, nil
	}
	devices, err := dm.devices()
	if err != nil {
		return nil, err
	}
	all := map[model.VMID]mapped{}
	for _, d := range devices {
		id, ok := h.ownerOfName(d.name)
		if !ok || d.uuid != h.uuid(id) {
			continue
		}
		state, err := dm.status(d.uuid, false)
		if errors.Is(err, errNoDevice) {
			continue // it has just ended
		}
		if err != nil {
			return nil, err
		}
		all[id] = state
	}
	return all, nil
}
