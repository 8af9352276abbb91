package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"banger/internal/model"
)

// Transition is a step of a VM's life with what is recorded beside it.
type Transition struct {
	From      []model.State // the states in which the step is meant; none for all that the model's table allows
	To        model.State
	LastError *string    // nil keeps what is there
	StartedAt *time.Time // likewise
}

// SetState takes a VM one step further and returns it as it is then. A step that From or the model's table of
// transitions does not allow from the VM's state is ErrState, and nothing is changed.
func (s *Store) SetState(ctx context.Context, id model.VMID, t Transition) (model.VM, error) {
	n := essential
	if t.To == model.StateStarting {
		n = ordinary
	}
	var after model.VM
	err := s.write(ctx, n, func(tx *sql.Tx) error {
		vm, err := scanVM(tx.QueryRowContext(ctx, `SELECT `+vmColumns+` FROM vms WHERE id = ?`, id))
		if err != nil {
			return missing(err, id)
		}
		if !vm.State.CanBecome(t.To) || (len(t.From) > 0 && !slices.Contains(t.From, vm.State)) {
			return model.Errorf(model.ErrState, "cannot make VM %q %s: it is %s", vm.Name, t.To, vm.State)
		}
		vm.State = t.To
		if t.LastError != nil {
			vm.LastError = *t.LastError
		}
		if t.StartedAt != nil {
			vm.StartedAt = fromNanos(toNanos(*t.StartedAt))
		}
		after = vm
		_, err = tx.ExecContext(ctx, `UPDATE vms SET state = ?, last_error = ?, started_at = ? WHERE id = ?`,
			vm.State.String(), vm.LastError, toNanos(vm.StartedAt), id)
		return err
	})
	if err != nil {
		return model.VM{}, failed(err, "record that VM %s is %s", id, t.To)
	}
	return after, nil
}
