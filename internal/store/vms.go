package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"banger/internal/model"
)

// lowestSlot is the smallest number from 1 on that no VM has.
const lowestSlot = `CASE WHEN NOT EXISTS (SELECT 1 FROM vms WHERE slot = 1) THEN 1
	ELSE (SELECT min(slot) + 1 FROM vms AS a WHERE NOT EXISTS (SELECT 1 FROM vms AS b WHERE b.slot = a.slot + 1)) END`

// CreateVM adds a VM, gives it the lowest free slot whatever vm.Slot says, and returns it as it was stored. A name that
// is taken is ErrExists; an image or kernel that has no row is ErrNotFound.
func (s *Store) CreateVM(ctx context.Context, vm model.VM) (model.VM, error) {
	spec, err := json.Marshal(vm.Spec)
	if err != nil {
		return model.VM{}, fmt.Errorf("cannot encode a spec: %w", err)
	}
	var stored model.VM
	err = s.write(ctx, ordinary, func(tx *sql.Tx) error {
		row := tx.QueryRowContext(ctx, `INSERT INTO vms (`+vmColumns+`)
			VALUES (?, ?, `+lowestSlot+`, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING `+vmColumns,
			vm.ID, vm.Name, string(spec), vm.Image, vm.Kernel, vm.VMM, vm.RootDisk, vm.Network, vm.State.String(),
			vm.LastError, vm.Generation, vm.Leased, toNanos(vm.CreatedAt), toNanos(vm.StartedAt), toNanos(vm.UsedAt))
		var err error
		stored, err = scanVM(row)
		return err
	})
	switch {
	case violates(err, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
		return model.VM{}, model.Errorf(model.ErrExists, "cannot create VM %q: one of that name is there; see it with banger vm show %s, or choose another name", vm.Name, vm.Name)
	case violates(err, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
		return model.VM{}, model.Errorf(model.ErrExists, "cannot create VM %q: its id %s is there", vm.Name, vm.ID)
	case violates(err, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY):
		return model.VM{}, model.Errorf(model.ErrNotFound, "cannot create VM %q: its image or kernel was deleted meanwhile; run the command again", vm.Name)
	}
	return stored, failed(err, "record VM %q", vm.Name)
}

// VM returns one VM, or ErrNotFound.
func (s *Store) VM(ctx context.Context, id model.VMID) (model.VM, error) {
	vm, err := scanVM(s.db.QueryRowContext(ctx, `SELECT `+vmColumns+` FROM vms WHERE id = ?`, id))
	if err == nil {
		one := []model.VM{vm}
		err = fillWorkspaces(ctx, s.db, one, "WHERE vm = ?", id)
		vm = one[0]
	}
	return vm, failed(missing(err, id), "read VM %s", id)
}

// Touch records that the VM is being used now.
func (s *Store) Touch(ctx context.Context, id model.VMID) error {
	return s.update(ctx, id, `used_at = ?`, toNanos(time.Now()))
}

// SetLeased records whether the VM goes when its client does.
func (s *Store) SetLeased(ctx context.Context, id model.VMID, leased bool) error {
	return s.update(ctx, id, `leased = ?`, leased)
}

// UpdateSpec records what the VM shall be from now on, and the driver of its network that goes with it.
func (s *Store) UpdateSpec(ctx context.Context, id model.VMID, spec model.Spec, network string) error {
	text, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("cannot encode a spec: %w", err)
	}
	err = s.write(ctx, ordinary, func(tx *sql.Tx) error {
		var found model.VMID
		return tx.QueryRowContext(ctx, `UPDATE vms SET spec = ?, network = ? WHERE id = ? RETURNING id`, string(text), network, id).Scan(&found)
	})
	return failed(missing(err, id), "record a change of VM %s", id)
}

// NextGeneration counts one more start of the VM and returns its number. What was known of its workspace when it last
// stopped counts no longer.
func (s *Store) NextGeneration(ctx context.Context, id model.VMID) (int64, error) {
	var generation int64
	err := s.write(ctx, ordinary, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE workspaces SET clean_at = 0 WHERE vm = ?`, id); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `UPDATE vms SET generation = generation + 1 WHERE id = ? RETURNING generation`, id).Scan(&generation)
	})
	return generation, failed(missing(err, id), "count a start of VM %s", id)
}

// DeleteVM forgets a VM that is deleting; its slot and its name are free then. One that is not there is success, one in
// another state is ErrState: what it has on the host would be forgotten with it.
func (s *Store) DeleteVM(ctx context.Context, id model.VMID) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error {
		vms, err := collect(ctx, tx, scanVM, `SELECT `+vmColumns+` FROM vms WHERE id = ?`, id)
		if err != nil || len(vms) == 0 {
			return err
		}
		if vms[0].State != model.StateDeleting {
			return model.Errorf(model.ErrState, "cannot forget VM %q: it is %s, not deleting", vms[0].Name, vms[0].State)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM vms WHERE id = ?`, id)
		return err
	})
	return failed(err, "delete the row of VM %s", id)
}

// update changes columns of one VM.
func (s *Store) update(ctx context.Context, id model.VMID, set string, value any) error {
	err := s.write(ctx, ordinary, func(tx *sql.Tx) error {
		var found model.VMID
		return tx.QueryRowContext(ctx, `UPDATE vms SET `+set+` WHERE id = ? RETURNING id`, value, id).Scan(&found)
	})
	return failed(missing(err, id), "record a change of VM %s", id)
}

func missing(err error, id model.VMID) error {
	return orNotFound(err, "cannot find VM %s: see what there is with: banger vm list", id)
}
