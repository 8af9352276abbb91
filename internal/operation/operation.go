// Package operation runs long work that outlives whoever asked for it.
//
// An operation has an id that stands on every log line and error of it, stages that stream to any number of watchers
// (each sees all events from the first on), and a row that says how it ended. It goes on when its watchers leave and ends
// early only by Cancel or with the daemon; the reconciliation of what it worked on is its owner's business.
package operation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"time"

	"banger/internal/model"
)

// Store keeps the operations' rows.
type Store interface {
	// InsertOperation adds a running operation. When one with the same non-empty idempotency key exists it returns that
	// one and false.
	InsertOperation(ctx context.Context, op model.Operation) (model.Operation, bool, error)
	UpdateOperation(ctx context.Context, op model.Operation) error
}

// Event is one thing that happened to an operation: exactly one field is set.
type Event struct {
	Progress *model.Progress
	Warning  string
	Result   any // a model.VM, model.Image or model.Kernel
}

// maxEvents caps what is kept for late watchers: further progress is dropped, warnings and the result are not.
const maxEvents = 1000

// Operation is one piece of work, running or ended.
type Operation struct {
	mu      sync.Mutex
	row     model.Operation
	events  []Event
	err     error
	ended   bool
	changed chan struct{} // closed and replaced at each change
	cancel  context.CancelCauseFunc
}

// Runner starts operations and remembers those that run.
type Runner struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	running map[model.OperationID]*Operation
	closed  bool
	wg      sync.WaitGroup
}

// NewRunner returns a Runner that keeps rows in store.
func NewRunner(store Store, log *slog.Logger) *Runner {
	return &Runner{store: store, log: log, running: map[model.OperationID]*Operation{}}
}

// Work is what an operation does. Its ctx ends with Cancel, not with a client. It reports through op.
type Work func(ctx context.Context, op *Operation) error

// Start begins work under a new operation. A key that was used before returns the earlier operation, when it still runs,
// or ErrExists with how it ended.
func (r *Runner) Start(ctx context.Context, kind, subject, key string, work Work) (*Operation, error) {
	row := model.Operation{
		ID: model.NewOperationID(), Kind: kind, Subject: subject, State: model.OperationRunning,
		IdempotencyKey: key, CreatedAt: time.Now(),
	}
	stored, fresh, err := r.store.InsertOperation(ctx, row)
	if err != nil {
		return nil, err
	}
	if !fresh {
		if op := r.Get(stored.ID); op != nil {
			return op, nil
		}
		return nil, model.Errorf(model.ErrExists, "this request was made before, as operation %s, which is %s", stored.ID, stored.State)
	}
	log := r.log.With(ID(row.ID), "kind", kind, "subject", subject)
	workCtx, cancel := context.WithCancelCause(WithLogger(context.Background(), log))
	op := &Operation{row: row, changed: make(chan struct{}), cancel: cancel}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		cancel(nil)
		return nil, model.Errorf(model.ErrUnavailable, "the daemon is stopping; run the command again")
	}
	r.running[row.ID] = op
	r.wg.Add(1)
	r.mu.Unlock()
	go r.run(workCtx, op, work, log)
	return op, nil
}

func (r *Runner) run(ctx context.Context, op *Operation, work Work, log *slog.Logger) {
	defer r.wg.Done()
	start := time.Now()
	log.Info("operation begins")
	err := protect(ctx, op, work)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, model.ErrCanceled) {
		err = model.Errorf(model.ErrCanceled, "%w: %v", cause, err)
	}
	row := op.end(err)
	// The row is written before watchers learn of the end, so that what they were told is there after a crash.
	if uerr := r.store.UpdateOperation(context.WithoutCancel(ctx), row); uerr != nil {
		log.Error("cannot record the operation's end", "error", uerr)
	}
	r.mu.Lock()
	delete(r.running, row.ID)
	r.mu.Unlock()
	op.cancel(nil)
	// So is the log's line: whoever was told may look there next.
	log.Info("operation ends", "state", string(row.State), "error", row.Error, "took", time.Since(start))
	op.finish()
}

// protect turns a panic of one operation into its error: one broken piece of work must not take the daemon with it.
func protect(ctx context.Context, op *Operation, work Work) (err error) {
	defer func() {
		if p := recover(); p != nil {
			Logger(ctx).Error("operation panicked", "panic", fmt.Sprint(p))
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return work(ctx, op)
}

// Get returns a running operation, or nil.
func (r *Runner) Get(id model.OperationID) *Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[id]
}

// Cancel asks a running operation to end.
func (r *Runner) Cancel(id model.OperationID) error {
	op := r.Get(id)
	if op == nil {
		return model.Errorf(model.ErrNotFound, "no operation %s is running", id)
	}
	op.cancel(model.Errorf(model.ErrCanceled, "canceled"))
	return nil
}

// Close cancels what runs and waits for it until ctx ends. Nothing starts afterwards.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	for _, op := range r.running {
		op.cancel(model.Errorf(model.ErrCanceled, "the daemon is stopping"))
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ID returns the operation's id.
func (op *Operation) ID() model.OperationID { return op.row.ID }

// Report publishes progress; it fits model.Report.
func (op *Operation) Report(p model.Progress) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.row.Stage = p.Stage
	op.append(Event{Progress: &p})
}

// Warn publishes one line for the user.
func (op *Operation) Warn(text string) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.append(Event{Warning: text})
}

// Result publishes what the operation made.
func (op *Operation) Result(v any) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.append(Event{Result: v})
}

func (op *Operation) append(e Event) {
	if e.Progress != nil && len(op.events) >= maxEvents {
		return
	}
	op.events = append(op.events, e)
	op.wake()
}

func (op *Operation) wake() {
	close(op.changed)
	op.changed = make(chan struct{})
}

func (op *Operation) end(err error) model.Operation {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.err = err
	op.row.FinishedAt = time.Now()
	switch {
	case err == nil:
		op.row.State = model.OperationDone
	case errors.Is(err, model.ErrCanceled):
		op.row.State, op.row.Error = model.OperationCanceled, err.Error()
	default:
		op.row.State, op.row.Error = model.OperationFailed, err.Error()
	}
	return op.row
}

func (op *Operation) finish() {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.ended = true
	op.wake()
}

// Events yields every event from the first on, waiting for new ones, until the operation has ended or ctx has. After it
// Err tells how.
func (op *Operation) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for next := 0; ; {
			op.mu.Lock()
			fresh, ended, changed := op.events[next:], op.ended, op.changed
			op.mu.Unlock()
			for _, e := range fresh {
				if !yield(e) {
					return
				}
			}
			next += len(fresh)
			if len(fresh) > 0 {
				continue
			}
			if ended {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Wait returns when the operation has ended, with its error, or when ctx has.
func (op *Operation) Wait(ctx context.Context) error {
	for range op.Events(ctx) {
	}
	if err := ctx.Err(); err != nil && !op.hasEnded() {
		return err
	}
	return op.Err()
}

func (op *Operation) hasEnded() bool {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.ended
}

// Err returns how the operation ended; nil while it runs.
func (op *Operation) Err() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.err
}
