package vm

import (
	"context"
	"errors"
)

// undo is what takes back the steps done so far. Steps are added as they succeed and run in reverse, all of them, with
// their errors joined.
type undo []func(context.Context) error

func (u *undo) add(step func(context.Context) error) { *u = append(*u, step) }

func (u *undo) run(ctx context.Context) error {
	var errs []error
	for i := len(*u) - 1; i >= 0; i-- {
		errs = append(errs, (*u)[i](ctx))
	}
	return errors.Join(errs...)
}
