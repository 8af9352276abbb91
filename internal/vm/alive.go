package vm

import (
	"context"
	"errors"
	"path/filepath"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// alive is the one test of whether a VM's VMM lives: it holds the lock in the VM's directory from before its exec until
// its death. The caller holds the VM's own lock, so that no start is under way.
func (s *Service) alive(id model.VMID) (bool, error) {
	return procs.Locked(filepath.Join(s.Dirs.VM(id), "vmm.lock"))
}

// find adopts the VM's living VMM, or returns ErrNotFound when none lives. The recorded handles are only a hint.
func (s *Service) find(ctx context.Context, v model.VM) (vmm.Machine, error) {
	lives, err := s.alive(v.ID)
	if err != nil {
		return nil, err
	}
	if !lives {
		return nil, model.ErrNotFound
	}
	driver, err := s.vmm(v.VMM)
	if err != nil {
		return nil, err
	}
	machine, err := driver.Find(ctx, v.ID, s.Dirs.VM(v.ID), s.loadHandles(v.ID))
	if errors.Is(err, model.ErrNotFound) {
		// It died between the two looks, or its driver cannot see what holds the lock.
		if lives, lockErr := s.alive(v.ID); lockErr != nil || !lives {
			return nil, errors.Join(model.ErrNotFound, lockErr)
		}
		return nil, model.Errorf(model.ErrUnavailable, "a process holds the lock of %s and cannot be identified", v.Name)
	}
	return machine, err
}
