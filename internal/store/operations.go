package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"banger/internal/model"
)

// maxOperations is how many operations are remembered; older ones that have ended are forgotten.
const maxOperations = 1000

const operationColumns = `id, kind, subject, state, stage, error, idempotency_key, created_at, finished_at`

func scanOperation(row scanner) (model.Operation, error) {
	var op model.Operation
	var created, finished int64
	err := row.Scan(&op.ID, &op.Kind, &op.Subject, &op.State, &op.Stage, &op.Error, &op.IdempotencyKey, &created, &finished)
	op.CreatedAt, op.FinishedAt = fromNanos(created), fromNanos(finished)
	return op, err
}

// InsertOperation adds an operation and returns true. When there is one with the same idempotency key, which is not
// empty, it returns that one and false instead.
func (s *Store) InsertOperation(ctx context.Context, op model.Operation) (model.Operation, bool, error) {
	stored, fresh := op, true
	err := s.write(ctx, essential, func(tx *sql.Tx) error {
		if op.IdempotencyKey != "" {
			earlier, err := scanOperation(tx.QueryRowContext(ctx, `SELECT `+operationColumns+` FROM operations WHERE idempotency_key = ?`, op.IdempotencyKey))
			if err == nil {
				stored, fresh = earlier, false
			}
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO operations (`+operationColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			op.ID, op.Kind, op.Subject, op.State, op.Stage, op.Error, op.IdempotencyKey, toNanos(op.CreatedAt), toNanos(op.FinishedAt))
		if err != nil {
			return err
		}
		seq, err := result.LastInsertId()
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM operations WHERE seq <= ? AND state <> 'running'`, seq-maxOperations)
		return err
	})
	if err != nil {
		return model.Operation{}, false, failed(err, "record the operation %s %s", op.Kind, op.Subject)
	}
	return stored, fresh, nil
}

// UpdateOperation records where an operation is: its state, stage, error and end. ErrNotFound when it is not there.
func (s *Store) UpdateOperation(ctx context.Context, op model.Operation) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error {
		var id model.OperationID
		row := tx.QueryRowContext(ctx, `UPDATE operations SET state = ?, stage = ?, error = ?, finished_at = ? WHERE id = ? RETURNING id`,
			op.State, op.Stage, op.Error, toNanos(op.FinishedAt), op.ID)
		return orNotFound(row.Scan(&id), "cannot find operation %s", op.ID)
	})
	return failed(err, "record the state of operation %s", op.ID)
}

// Operations returns the operations that are remembered, or only those that run, oldest first.
func (s *Store) Operations(ctx context.Context, runningOnly bool) ([]model.Operation, error) {
	where := ""
	if runningOnly {
		where = ` WHERE state = 'running'`
	}
	ops, err := collect(ctx, s.db, scanOperation, `SELECT `+operationColumns+` FROM operations`+where+` ORDER BY seq`)
	return ops, failed(err, "read the operations")
}

// FailRunningOperations ends every operation that an earlier daemon left running, with reason as its error.
func (s *Store) FailRunningOperations(ctx context.Context, reason string) error {
	err := s.write(ctx, essential, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE operations SET state = 'failed', error = ?, finished_at = ? WHERE state = 'running'`, reason, toNanos(time.Now()))
		return err
	})
	return failed(err, "end the operations of an earlier daemon")
}
