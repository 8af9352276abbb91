package vmmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"banger/internal/model"
	"banger/internal/procs"
	"banger/internal/vmm"
)

// TakeAway is what a daemon does with the VM of a former one that was killed: it ends what lives, and removes what is left.
func TakeAway(ctx context.Context, d vmm.Driver, id model.VMID, dir string) error {
	m, err := d.Find(ctx, id, dir, model.Handles{})
	switch {
	case err == nil:
		err = errors.Join(m.Kill(ctx), m.Close())
	case errors.Is(err, model.ErrNotFound):
		err = nil
	}
	return errors.Join(err, d.Remove(ctx, id, dir, model.Handles{}))
}

// Empty is an error that says what there is in a VM's directory beside its lock, which nobody may hold.
func Empty(dir string) error {
	held, err := procs.Locked(filepath.Join(dir, vmm.LockName))
	if err != nil {
		return err
	}
	if held {
		return errors.New("a VMM lives")
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	left = slices.DeleteFunc(left, func(e os.DirEntry) bool { return e.Name() == vmm.LockName })
	if len(left) > 0 {
		return fmt.Errorf("left: %v", left)
	}
	return nil
}
