package operation_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"banger/internal/model"
	"banger/internal/operation"
)

// rows is a Store in memory.
type rows struct {
	mu  sync.Mutex
	all map[model.OperationID]model.Operation
}

func (r *rows) InsertOperation(_ context.Context, op model.Operation) (model.Operation, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, old := range r.all {
		if op.IdempotencyKey != "" && old.IdempotencyKey == op.IdempotencyKey {
			return old, false, nil
		}
	}
	if r.all == nil {
		r.all = map[model.OperationID]model.Operation{}
	}
	r.all[op.ID] = op
	return op, true, nil
}

func (r *rows) UpdateOperation(_ context.Context, op model.Operation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[op.ID] = op
	return nil
}

func (r *rows) get(id model.OperationID) model.Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[id]
}

func newRunner() (*operation.Runner, *rows) {
	r := &rows{}
	return operation.NewRunner(r, slog.New(slog.DiscardHandler)), r
}

func TestEveryWatcherSeesEveryEventAndTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runner, store := newRunner()
		op, err := runner.Start(t.Context(), "create", "box", "", func(_ context.Context, op *operation.Operation) error {
			op.Report(model.Progress{Stage: "one"})
			time.Sleep(time.Second)
			op.Warn("careful")
			time.Sleep(time.Second)
			op.Result("made")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		watch := func(after time.Duration) string {
			time.Sleep(after)
			var seen []string
			for e := range op.Events(t.Context()) {
				switch {
				case e.Progress != nil:
					seen = append(seen, e.Progress.Stage)
				case e.Warning != "":
					seen = append(seen, e.Warning)
				default:
					seen = append(seen, e.Result.(string))
				}
			}
			return strings.Join(seen, " ")
		}
		results := make(chan string, 3)
		for _, after := range []time.Duration{0, 1500 * time.Millisecond, time.Minute} {
			go func() { results <- watch(after) }()
		}
		for range 3 {
			if got := <-results; got != "one careful made" {
				t.Errorf("a watcher saw %q", got)
			}
		}
		if row := store.get(op.ID()); row.State != model.OperationDone || row.Stage != "one" || row.FinishedAt.IsZero() {
			t.Errorf("the row is %+v", row)
		}
	})
}

func TestWorkOutlivesItsCallerAndEndsByCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runner, store := newRunner()
		caller, leave := context.WithCancel(t.Context())
		op, err := runner.Start(caller, "start", "box", "", func(ctx context.Context, _ *operation.Operation) error {
			<-ctx.Done()
			return errors.New("interrupted in the middle")
		})
		if err != nil {
			t.Fatal(err)
		}
		leave()
		synctest.Wait()
		if runner.Get(op.ID()) == nil {
			t.Fatal("the operation ended with its caller")
		}
		if err := runner.Cancel(op.ID()); err != nil {
			t.Fatal(err)
		}
		if err := op.Wait(t.Context()); !errors.Is(err, model.ErrCanceled) {
			t.Errorf("Wait = %v, want ErrCanceled", err)
		}
		if row := store.get(op.ID()); row.State != model.OperationCanceled {
			t.Errorf("the row is %+v", row)
		}
		if err := runner.Cancel(op.ID()); !errors.Is(err, model.ErrNotFound) {
			t.Errorf("Cancel of an ended operation = %v, want ErrNotFound", err)
		}
	})
}

func TestTheSameKeyIsTheSameOperation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runner, _ := newRunner()
		release := make(chan struct{})
		work := func(context.Context, *operation.Operation) error { <-release; return nil }
		first, err := runner.Start(t.Context(), "create", "a", "key", work)
		if err != nil {
			t.Fatal(err)
		}
		again, err := runner.Start(t.Context(), "create", "a", "key", work)
		if err != nil || again != first {
			t.Errorf("the second start gave %v, %v", again, err)
		}
		close(release)
		if err := first.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := runner.Start(t.Context(), "create", "a", "key", work); !errors.Is(err, model.ErrExists) {
			t.Errorf("after the end: %v, want ErrExists", err)
		}
	})
}

func TestAPanicFailsItsOperationOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runner, store := newRunner()
		op, err := runner.Start(t.Context(), "create", "a", "", func(context.Context, *operation.Operation) error { panic("oh") })
		if err != nil {
			t.Fatal(err)
		}
		if err := op.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "oh") {
			t.Errorf("Wait = %v", err)
		}
		if row := store.get(op.ID()); row.State != model.OperationFailed {
			t.Errorf("the row is %+v", row)
		}
	})
}

func TestCloseCancelsWaitsAndRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runner, _ := newRunner()
		op, err := runner.Start(t.Context(), "create", "a", "", func(ctx context.Context, _ *operation.Operation) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := op.Err(); !errors.Is(err, model.ErrCanceled) {
			t.Errorf("the operation ended with %v", err)
		}
		if _, err := runner.Start(t.Context(), "create", "b", "", nil); !errors.Is(err, model.ErrUnavailable) {
			t.Errorf("Start after Close = %v", err)
		}
	})
}
