package store

import (
	"encoding/json"
	"fmt"
	"time"

	"banger/internal/model"
)

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

const vmColumns = `id, name, slot, spec, image, kernel, vmm, root_disk, network, state, last_error, generation, leased,
	created_at, started_at, used_at`

func scanVM(row scanner) (model.VM, error) {
	var vm model.VM
	var spec []byte
	var state string
	var created, started, used int64
	err := row.Scan(&vm.ID, &vm.Name, &vm.Slot, &spec, &vm.Image, &vm.Kernel, &vm.VMM, &vm.RootDisk, &vm.Network, &state,
		&vm.LastError, &vm.Generation, &vm.Leased, &created, &started, &used)
	if err != nil {
		return model.VM{}, err
	}
	if err := json.Unmarshal(spec, &vm.Spec); err != nil {
		return model.VM{}, model.Errorf(model.ErrCorrupt, "cannot read the row of VM %s: its spec is damaged (%w)", vm.ID, err)
	}
	var ok bool
	if vm.State, ok = model.ParseState(state); !ok {
		return model.VM{}, model.Errorf(model.ErrCorrupt, "cannot read the row of VM %s: %q is no state", vm.ID, state)
	}
	vm.CreatedAt, vm.StartedAt, vm.UsedAt = fromNanos(created), fromNanos(started), fromNanos(used)
	return vm, nil
}

// toNanos and fromNanos keep the zero time zero; others lose their monotonic reading and become UTC.
func toNanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// list is a []string in a column, as JSON.
type list []string

// Scan implements sql.Scanner.
func (l *list) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("a list is text, not %T", src)
	}
	*l = nil
	if text == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(text), (*[]string)(l))
}

// encode writes strings as a list is stored.
func encode(strings []string) string {
	if len(strings) == 0 {
		return "[]"
	}
	text, err := json.Marshal(strings)
	if err != nil {
		panic(err) // strings always encode
	}
	return string(text)
}
